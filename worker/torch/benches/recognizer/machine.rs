//! The machine and the commit that were measured.

use std::process::Command;

use serde_json::{Map, Value, json};

const FLAGS: [&str; 9] = [
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
];

pub fn describe() -> Map<String, Value> {
    let cpu_info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let lines = cpu_info.lines().filter_map(|line| line.split_once(':'));
        let mut values = lines.filter(|(key, _)| key.trim() == name);
        values.next().map_or("", |(_, value)| value.trim())
    };
    let available: Vec<&str> = field("flags").split(' ').collect();
    let flags: Vec<&str> = FLAGS
        .into_iter()
        .filter(|flag| available.contains(flag))
        .collect();
    let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
    Map::from_iter([
        (
            "machine".to_owned(),
            json!({"cpu": field("model name"), "cores": cores, "flags": flags}),
        ),
        (
            "commit".to_owned(),
            json!(output_of("git", &["describe", "--always", "--dirty"])),
        ),
        (
            "date".to_owned(),
            json!(output_of("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"])),
        ),
    ])
}

/// Returns `None` if the program is missing or fails.
fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
