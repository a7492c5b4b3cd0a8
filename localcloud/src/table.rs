//! Tables of tests.

/// Returns the fields of each row. Bars separate them, and a row that begins with `//` is a comment.
pub fn rows<const FIELDS: usize>(table: &str) -> Vec<[&str; FIELDS]> {
    let rows = table.trim().lines().map(str::trim);
    let rows = rows.filter(|row| !row.starts_with("//"));
    rows.map(|row| {
        let fields: Vec<&str> = row.splitn(FIELDS, " | ").map(str::trim).collect();
        fields.try_into().expect("a row has all fields")
    })
    .collect()
}
