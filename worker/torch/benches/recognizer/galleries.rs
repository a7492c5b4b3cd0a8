//! Times of searches in large galleries.

use std::time::Duration;

use crate::samples::{Samples, milliseconds};
use crate::vectors::{clustered_gallery, queries};

const QUERIES: usize = 300;
const FIRST_QUERIES: usize = 5;

/// Returns median and 99th percentile in ms of a search among `rows`, or `None` if all queries would take longer than
/// `limit`.
pub fn search(rows: usize, limit: Duration) -> Option<[f64; 2]> {
    let gallery = clustered_gallery(rows);
    let queries = queries(&gallery, QUERIES);
    let search = |query: &Vec<f32>| milliseconds(|| gallery.nearest(query));
    let first: Samples = queries.iter().take(FIRST_QUERIES).map(search).collect();
    if first.median() * QUERIES as f64 > limit.as_secs_f64() * 1000.0 {
        return None;
    }
    let samples: Samples = queries.iter().map(search).collect();
    Some([samples.median(), samples.quantile(0.99)])
}
