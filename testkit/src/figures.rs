//! The figures of benches.

use std::path::Path;

use serde_json::Value;

/// Returns the median, or 0 of no values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Writes a bench's figures to `target/bench/NAME.json`, and prints that path.
pub fn write_figures(name: &str, figures: &Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    std::fs::create_dir_all(&folder).unwrap();
    let folder = folder.canonicalize().unwrap();
    let file = folder.join(format!("{name}.json"));
    std::fs::write(&file, format!("{figures:#}\n"))
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()));
    println!("\nwritten to {}", file.display());
}
