//! The CSV file `Image,Results` with the name of the person on each photo. A further column `Variant` has the kind of photo.

use std::collections::HashMap;

/// The name of the person on each photo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroundTruth {
    photos: HashMap<String, Labels>,
}

/// What the CSV file says of a photo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    pub name: String,
    /// The optional column `Variant`. Empty: none.
    pub variant: String,
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
    #[error("it has no line for a photo")]
    Empty,
}

const IMAGE: &str = "Image";
const RESULTS: &str = "Results";
const VARIANT: &str = "Variant";

impl GroundTruth {
    /// Parses a CSV file. The columns may be in any order and among others. Fields may be quoted.
    ///
    /// # Errors
    /// When a column is missing, two lines contradict each other, or there is only the header.
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
        let variant_column = position(VARIANT);
        let mut photos: HashMap<String, Labels> = HashMap::new();
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
            let variant = variant_column
                .and_then(|column| row.get_mut(column))
                .map(std::mem::take)
                .unwrap_or_default();
            if photos.get(&image).is_some_and(|it| it.name != name) {
                return Err(TruthError::Contradiction { line, image });
            }
            photos.insert(image, Labels { name, variant });
        }
        if photos.is_empty() {
            Err(TruthError::Empty)
        } else {
            Ok(Self { photos })
        }
    }

    /// Returns the labels for a photo's file name. The CSV file may have the whole file name, the part before its last
    /// extension, or the part before its first dot, as existing files do.
    #[must_use]
    pub fn labels_for(&self, file_name: &str) -> Option<&Labels> {
        let up_to_first_dot = file_name.split('.').next().unwrap_or_default();
        [file_name, stem(file_name), up_to_first_dot]
            .iter()
            .find_map(|key| self.photos.get(*key))
    }
}

/// Writes a CSV file that [`GroundTruth::parse`] reads.
#[must_use]
pub fn to_csv<'a>(rows: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    csv(
        &[IMAGE, RESULTS],
        rows.into_iter().map(|(image, name)| [image, name]),
    )
}

/// As [`to_csv`], with the kind of each photo.
#[must_use]
pub fn to_csv_with_variants<'a>(rows: impl IntoIterator<Item = [&'a str; 3]>) -> String {
    csv(&[IMAGE, RESULTS, VARIANT], rows)
}

fn csv<'a, const COLUMNS: usize>(
    head: &[&str; COLUMNS],
    rows: impl IntoIterator<Item = [&'a str; COLUMNS]>,
) -> String {
    let mut csv = head.join(",") + "\n";
    for row in rows {
        csv += &(row.map(quoted).join(",") + "\n");
    }
    csv
}

/// Splits a response `<stem>:<name>`. As in existing clients, the name ends at a second colon, and white space around it is
/// ignored. Returns `None` without a colon.
#[must_use]
pub fn parse_response(text: &str) -> Option<(&str, &str)> {
    let mut parts = text.split(':');
    Some((parts.next()?.trim(), parts.next()?.trim()))
}

/// Returns a file name without its last extension.
#[must_use]
pub fn stem(file_name: &str) -> &str {
    file_name
        .rsplit_once('.')
        .map_or(file_name, |(stem, _)| stem)
}

pub(crate) fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// Splits a line at its commas, except within double quotes. Two quotes stand for one.
pub(crate) fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut in_quotes = false;
    let mut characters = line.trim().chars().peekable();
    while let Some(character) = characters.next() {
        let field = fields.last_mut().expect("there is always a field");
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

    fn name_for(truth: &GroundTruth, file_name: &str) -> Option<String> {
        truth.labels_for(file_name).map(|it| it.name.clone())
    }

    #[test]
    fn photos_are_found_by_stem_and_by_full_name() {
        let truth =
            GroundTruth::parse("Image,Results\ntest_00,Ben\ntest_01.jpg,Elton\na.b,Jerry\n")
                .unwrap();
        assert_eq!(name_for(&truth, "test_00.jpg").as_deref(), Some("Ben"));
        assert_eq!(name_for(&truth, "test_00.v2.jpg").as_deref(), Some("Ben"));
        assert_eq!(name_for(&truth, "test_01.jpg").as_deref(), Some("Elton"));
        assert_eq!(name_for(&truth, "a.b.jpg").as_deref(), Some("Jerry"));
        assert_eq!(name_for(&truth, "test_02.jpg"), None);
    }

    #[test]
    fn files_of_spreadsheets_are_read() {
        let truth = GroundTruth::parse(
            "\u{feff}id,results, IMAGE\r\n1,\"Downey, Robert\",x\r\n\r\n2,Ma\"\"ona,y\r\n",
        )
        .unwrap();
        assert_eq!(name_for(&truth, "x.png").as_deref(), Some("Downey, Robert"));
        assert_eq!(
            name_for(
                &GroundTruth::parse("Image,Results\na,\"say \"\"hi\"\"\"").unwrap(),
                "a"
            )
            .as_deref(),
            Some("say \"hi\"")
        );
    }

    #[test]
    fn other_files_are_refused() {
        assert_eq!(
            GroundTruth::parse("a,b\n"),
            Err(TruthError::Header("a,b".into()))
        );
        assert_eq!(
            GroundTruth::parse(""),
            Err(TruthError::Header(String::new()))
        );
        assert_eq!(
            GroundTruth::parse("Image,Results\n"),
            Err(TruthError::Empty)
        );
        let missing = TruthError::MissingColumn {
            line: 3,
            column: "Results",
        };
        assert_eq!(GroundTruth::parse("Image,Results\n\na\n"), Err(missing));
        let contradiction = TruthError::Contradiction {
            line: 3,
            image: "a".into(),
        };
        assert_eq!(
            GroundTruth::parse("Image,Results\na,x\na,y\n"),
            Err(contradiction)
        );
    }

    #[test]
    fn a_written_file_is_read_back() {
        let csv = to_csv([("test_00", "Ben"), ("test_01", "Downey, \"Robert\"")]);
        assert!(csv.starts_with("Image,Results\ntest_00,Ben\n"));
        assert_eq!(
            name_for(&GroundTruth::parse(&csv).unwrap(), "test_01.jpg").as_deref(),
            Some("Downey, \"Robert\"")
        );
        let csv = to_csv_with_variants([["a", "Ben", "size, 64"], ["b", "Elton", ""]]);
        let truth = GroundTruth::parse(&csv).unwrap();
        let variant = |name: &str| truth.labels_for(name).unwrap().variant.clone();
        assert_eq!(
            (variant("a.jpg"), variant("b")),
            ("size, 64".into(), String::new())
        );
    }

    #[test]
    fn responses_are_parsed_as_by_existing_clients() {
        assert_eq!(parse_response("test_00:Paul\n"), Some(("test_00", "Paul")));
        assert_eq!(
            parse_response("test_00: Paul :x"),
            Some(("test_00", "Paul"))
        );
        assert_eq!(parse_response("internal error"), None);
    }
}
