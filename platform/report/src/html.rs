//! An HTML page of headings, text, tables and charts.

#[cfg(test)]
mod tests;

use std::fmt::Write;

use crate::chart::{self, Chart};
use crate::escaped;

/// A page in one file: no script, no other file, light and dark, ready to print.
#[derive(Debug, Clone)]
pub struct Page {
    title: String,
    body: String,
}

const STYLE: &str = ":root{color-scheme:light dark}\
body{max-width:56rem;margin:2rem auto 4rem;padding:0 1rem;background:#fff;color:#1f2328;\
font:1rem/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,\"Helvetica Neue\",Arial,sans-serif;overflow-wrap:break-word}\
h1{font-size:1.7rem;line-height:1.2}h2{font-size:1.25rem;margin-top:2.2rem}p{max-width:42rem}\
.scroll{overflow-x:auto;margin:1rem 0}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.9rem}\
caption{text-align:left;padding-bottom:.4rem;color:#57606a}\
th,td{padding:.25rem .7rem;border-bottom:1px solid #d8dee4;text-align:left;vertical-align:top}\
thead th{border-bottom:2px solid #848d97;vertical-align:bottom}.number{text-align:right}\
pre{overflow-x:auto;padding:.8rem;background:#f4f6f8;font:.85rem/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}\
figure{margin:1rem 0;overflow-x:auto}figure svg{display:block;width:100%;max-width:50rem;height:auto;min-width:26rem}\
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(26rem,100%),1fr));gap:1rem}.charts figure{margin:0}\
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}caption{color:#9aa4af}\
th,td{border-color:#30363d}pre{background:#161b22}}\
@media print{body{margin:0;max-width:none}figure,table,pre{break-inside:avoid}h2{break-after:avoid}pre{white-space:pre-wrap}}";

impl Page {
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            body: String::new(),
        }
    }

    pub fn heading(&mut self, text: &str) -> &mut Self {
        let _ = writeln!(self.body, "<h2>{}</h2>", escaped(text));
        self
    }

    pub fn paragraph(&mut self, text: &str) -> &mut Self {
        let _ = writeln!(self.body, "<p>{}</p>", escaped(text));
        self
    }

    /// Adds a table. A column of numbers is aligned to the right; units may follow them.
    pub fn table(&mut self, caption: &str, head: &[&str], rows: &[Vec<String>]) -> &mut Self {
        let caption = escaped(caption);
        let is_number = |column: usize| {
            let mut cells = rows.iter().filter_map(|row| row.get(column));
            let filled = cells.clone().any(|cell| starts_as_number(cell));
            filled && cells.all(|cell| cell.is_empty() || cell == "-" || starts_as_number(cell))
        };
        let columns = rows.iter().map(Vec::len).fold(head.len(), usize::max);
        let classes: Vec<_> = (0..columns)
            .map(|column| {
                if is_number(column) {
                    " class=\"number\""
                } else {
                    ""
                }
            })
            .collect();
        let _ = writeln!(
            self.body,
            "<div class=\"scroll\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\"><table><caption>{caption}</caption>\n<thead><tr>"
        );
        for (name, class) in head.iter().zip(&classes) {
            let _ = write!(self.body, "<th scope=\"col\"{class}>{}</th>", escaped(name));
        }
        self.body += "</tr></thead>\n<tbody>\n";
        for row in rows {
            self.body += "<tr>";
            for (cell, class) in row.iter().zip(&classes) {
                let _ = write!(self.body, "<td{class}>{}</td>", escaped(cell));
            }
            self.body += "</tr>\n";
        }
        self.body += "</tbody></table></div>\n";
        self
    }

    pub fn chart(&mut self, chart: &Chart) -> &mut Self {
        let _ = writeln!(self.body, "<figure>{}</figure>", chart.element(true));
        self
    }

    /// Adds charts in two columns, or in one on a narrow screen.
    pub fn charts(&mut self, charts: &[Chart]) -> &mut Self {
        self.body += "<div class=\"charts\">\n";
        for chart in charts {
            let _ = writeln!(self.body, "<figure>{}</figure>", chart.element(false));
        }
        self.body += "</div>\n";
        self
    }

    /// Adds text whose lines and spaces stay as they are.
    pub fn preformatted(&mut self, text: &str) -> &mut Self {
        let _ = writeln!(self.body, "<pre tabindex=\"0\">{}</pre>", escaped(text));
        self
    }

    /// Returns the document.
    #[must_use]
    pub fn finish(&self) -> String {
        let title = escaped(&self.title);
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
             <title>{title}</title>\n<style>{STYLE}{}</style></head>\n<body><main>\n<h1>{title}</h1>\n{}</main></body></html>\n",
            chart::style(),
            self.body
        )
    }
}

fn starts_as_number(cell: &str) -> bool {
    let digits = cell.trim_start_matches(['-', '\u{2212}', '+', '$', '~', '<', '>', ' ']);
    digits.starts_with(|first: char| first.is_ascii_digit())
}
