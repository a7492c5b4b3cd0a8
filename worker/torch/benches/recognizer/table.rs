//! The table that is printed.

use serde_json::{Map, Value};

use crate::rounds::CASES;

const SINGLE: [(&str, &str); 17] = [
    ("gemm_gflops", "matrix product, GFLOP/s"),
    ("embed_fp32_floor_ms", "embedding at that rate, ms"),
    ("faces_found", "faces found"),
    ("reference_faces_found", "faces found by the reference"),
    ("box_difference_max_px", "boxes differ by at most, px"),
    ("ready_ms", "start to ready, ms"),
    ("ready_p10_ms", "start to ready, p10, ms"),
    ("ready_cpu_ms", "start to ready, processor ms"),
    ("first_answer_ms", "first reply, ms"),
    ("steady_answer_ms", "replies after it, ms"),
    ("first_answer_ratio", "first reply / those after"),
    ("rss_mb", "resident memory, MB"),
    ("pss_mb_per_worker_at_15", "memory of one of 15, MB"),
    ("gallery_200k_ms", "nearest of 200,000, ms"),
    ("gallery_200k_p99_ms", "99th percentile, ms"),
    ("gallery_1m_ms", "nearest of 1,000,000, ms"),
    ("gallery_1m_p99_ms", "99th percentile, ms"),
];

/// Prints one subject's figures.
pub fn print(title: &str, report: &Map<String, Value>) {
    let number = |key: String| report.get(&key).and_then(Value::as_f64);
    let text = |key: String| number(key).map_or("-".to_owned(), |value| format!("{value:.2}"));
    println!("\n{title}");
    println!(
        "{:<30}{:>17}{:>17}{:>15}",
        "milliseconds, median / p10", "ours", "reference", "times as fast"
    );
    for case in CASES {
        let (key, title) = (case.key, case.title);
        let pair = |start: &str, end: &str| {
            let median = text(format!("{start}{key}_{end}"));
            format!("{median} / {}", text(format!("{start}{key}_p10_{end}")))
        };
        let (ours, theirs) = (pair("", "ms"), pair("reference_", "ms"));
        println!("{title:<30}{ours:>17}{theirs:>17}{:>15}", pair("", "ratio"));
    }
    println!();
    for (key, title) in SINGLE {
        println!("{title:<30}{:>17}", text(key.to_owned()));
    }
}
