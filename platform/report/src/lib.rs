//! Charts as SVG, and reports as HTML pages that need no other file.
