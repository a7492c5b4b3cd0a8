//! The CSV file `Image,Results` that says who is on which photo.

use std::collections::HashMap;

/// Who is on which photo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Truth {
    names: HashMap<String, String>,
}

/// Why a CSV file cannot be used. Lines count from 1.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TruthError {
    #[error("its first line must have the columns \"Image,Results\", not {0:?}")]
    Header(String),
    #[error("line {line} has no column {column:?}")]
    MissingColumn { line: usize, column: &'static str },
    #[error("line {line} gives {image:?} another name than a line before it")]
    Contradiction { line: usize, image: String },
    #[error("it names no photo")]
    Empty,
}

const IMAGE: &str = "Image";
const RESULTS: &str = "Results";

impl Truth {
    /// Reads the text of a CSV file. The columns may stand in any order and beside others; fields may be quoted.
    ///
    /// # Errors
    /// When a column is missing, two lines contradict each other, or there is no line but the header.
    pub fn parse(csv: &str) -> Result<Self, TruthError> {
        let csv = csv.trim_start_matches('\u{feff}');
        let mut lines = (1..)
            .zip(csv.lines())
            .filter(|(_, line)| !line.trim().is_empty());
        let header = lines.next().map_or("", |(_, line)| line);
        let columns = fields(header);
        let position = |name: &str| {
            columns
                .iter()
                .position(|column| column.eq_ignore_ascii_case(name))
        };
        let (Some(image_column), Some(name_column)) = (position(IMAGE), position(RESULTS)) else {
            return Err(TruthError::Header(header.trim().to_owned()));
        };
        let mut names = HashMap::new();
        for (line, text) in lines {
            let mut row = fields(text);
            let mut take = |index: usize, column| {
                let field = row.get_mut(index).map(std::mem::take).unwrap_or_default();
                if field.is_empty() {
                    Err(TruthError::MissingColumn { line, column })
                } else {
                    Ok(field)
                }
            };
            let (image, name) = (take(image_column, IMAGE)?, take(name_column, RESULTS)?);
            if names.get(&image).is_some_and(|before| *before != name) {
                return Err(TruthError::Contradiction { line, image });
            }
            names.insert(image, name);
        }
        if names.is_empty() {
            Err(TruthError::Empty)
        } else {
            Ok(Self { names })
        }
    }

    /// Who is on the photo of this file name. The CSV may name it up to the first dot, as existing truth files do, in
    /// full, or without its last extension.
    #[must_use]
    pub fn name_on(&self, file_name: &str) -> Option<&str> {
        let up_to_first_dot = file_name.split('.').next().unwrap_or_default();
        [file_name, stem(file_name), up_to_first_dot]
            .iter()
            .find_map(|key| self.names.get(*key))
            .map(String::as_str)
    }
}

/// The text of a CSV file that [`Truth::parse`] reads.
#[must_use]
pub fn to_csv<'a>(rows: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut csv = format!("{IMAGE},{RESULTS}\n");
    for (image, name) in rows {
        csv.push_str(&format!("{},{}\n", quoted(image), quoted(name)));
    }
    csv
}

/// What a service answers: the file's stem and the name, `<stem>:<name>`. As existing clients do, the name is what
/// stands between the first and the second colon, without the white space around it. `None` without a colon.
#[must_use]
pub fn parse_answer(text: &str) -> Option<(&str, &str)> {
    let mut parts = text.split(':');
    Some((parts.next()?.trim(), parts.next()?.trim()))
}

/// A file name without its last extension.
#[must_use]
pub fn stem(file_name: &str) -> &str {
    file_name
        .rsplit_once('.')
        .map_or(file_name, |(stem, _)| stem)
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// Splits a line at its commas, except within double quotes; two of them stand for one.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut in_quotes = false;
    let mut characters = line.trim().chars().peekable();
    while let Some(character) = characters.next() {
        let field = fields
            .last_mut()
            .expect("it starts with one field and only grows");
        match character {
            '"' if in_quotes && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => in_quotes = !in_quotes,
            ',' if !in_quotes => fields.push(String::new()),
            other => field.push(other),
        }
    }
    fields.iter().map(|field| field.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_are_found_by_stem_and_by_full_name() {
        let truth =
            Truth::parse("Image,Results\ntest_00,Ben\ntest_01.jpg,Elton\na.b,Jerry\n").unwrap();
        assert_eq!(truth.name_on("test_00.jpg"), Some("Ben"));
        assert_eq!(truth.name_on("test_00.v2.jpg"), Some("Ben"));
        assert_eq!(truth.name_on("test_01.jpg"), Some("Elton"));
        assert_eq!(truth.name_on("a.b.jpg"), Some("Jerry"));
        assert_eq!(truth.name_on("test_02.jpg"), None);
    }

    #[test]
    fn what_spreadsheets_write_is_read() {
        let truth = Truth::parse(
            "\u{feff}id,results, IMAGE\r\n1,\"Downey, Robert\",x\r\n\r\n2,Ma\"\"ona,y\r\n",
        )
        .unwrap();
        assert_eq!(truth.name_on("x.png"), Some("Downey, Robert"));
        assert_eq!(
            Truth::parse("Image,Results\na,\"say \"\"hi\"\"\"")
                .unwrap()
                .name_on("a"),
            Some("say \"hi\"")
        );
    }

    #[test]
    fn other_files_are_refused_with_the_reason() {
        assert_eq!(Truth::parse("a,b\n"), Err(TruthError::Header("a,b".into())));
        assert_eq!(Truth::parse(""), Err(TruthError::Header(String::new())));
        assert_eq!(Truth::parse("Image,Results\n"), Err(TruthError::Empty));
        let missing = TruthError::MissingColumn {
            line: 3,
            column: "Results",
        };
        assert_eq!(Truth::parse("Image,Results\n\na\n"), Err(missing));
        let contradiction = TruthError::Contradiction {
            line: 3,
            image: "a".into(),
        };
        assert_eq!(
            Truth::parse("Image,Results\na,x\na,y\n"),
            Err(contradiction)
        );
    }

    #[test]
    fn a_written_file_is_read_back() {
        let csv = to_csv([("test_00", "Ben"), ("test_01", "Downey, \"Robert\"")]);
        assert!(csv.starts_with("Image,Results\ntest_00,Ben\n"));
        assert_eq!(
            Truth::parse(&csv).unwrap().name_on("test_01.jpg"),
            Some("Downey, \"Robert\"")
        );
    }

    #[test]
    fn answers_are_read_as_existing_clients_read_them() {
        assert_eq!(parse_answer("test_00:Paul\n"), Some(("test_00", "Paul")));
        assert_eq!(parse_answer("test_00: Paul :x"), Some(("test_00", "Paul")));
        assert_eq!(parse_answer("internal error"), None);
    }
}
