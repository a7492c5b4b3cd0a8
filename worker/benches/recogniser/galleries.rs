//! How long the search takes in large galleries.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::samples::{Samples, milliseconds};
use crate::vectors::{clustered_gallery, queries};

const QUERIES: usize = 300;
const FIRST_QUERIES: usize = 5;

/// A gallery in which all queries would take longer than `limit` is left out: null.
pub fn measure(limit: Duration) -> Map<String, Value> {
    let sizes = [("gallery_200k", 200_000), ("gallery_1m", 1_000_000)];
    let mut found = Map::new();
    for (title, rows) in sizes {
        let samples = search(rows, limit);
        let quantile = |share| json!(samples.as_ref().map(|samples| samples.quantile(share)));
        found.insert(format!("{title}_p99_ms"), quantile(0.99));
        found.insert(format!("{title}_ms"), quantile(0.5));
    }
    found
}

fn search(rows: usize, limit: Duration) -> Option<Samples> {
    let gallery = clustered_gallery(rows);
    let queries = queries(&gallery, QUERIES);
    let search = |query: &Vec<f32>| milliseconds(|| gallery.nearest(query));
    let first: Samples = queries.iter().take(FIRST_QUERIES).map(search).collect();
    if first.median() * QUERIES as f64 > limit.as_secs_f64() * 1000.0 {
        return None;
    }
    Some(queries.iter().map(search).collect())
}
