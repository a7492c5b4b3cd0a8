//! Takes frames from clips with FFmpeg, and follows faces through them.
