//! What the programs print about themselves.

use std::path::Path;
use std::process::{Command, Output};

/// Programs with options. Those that are not built beside `doctor` are left out.
const PROGRAMS: [&str; 9] = [
    "chaos",
    "doctor",
    "front",
    "gateway",
    "loadgen",
    "localcloud",
    "scaler",
    "worker",
    "worker-torch",
];

/// Programs that Lambda starts. Instead of help they say which functions they have.
const FUNCTIONS: [&str; 2] = ["bootstrap", "bootstrap-torch"];

const SECRET: &str = "c0rrect-h0rse";

/// Variables that may hold a secret, with values as they are used.
const VARIABLES: [(&str, &str); 9] = [
    ("AWS_ACCESS_KEY_ID", "c0rrect-h0rse"),
    ("AWS_SECRET_ACCESS_KEY", "c0rrect-h0rse"),
    ("AWS_SESSION_TOKEN", "c0rrect-h0rse"),
    ("LOCALCLOUD_CREDENTIALS", "key:c0rrect-h0rse"),
    ("MUSTER_API_KEY", "c0rrect-h0rse"),
    (
        "MUSTER_DEMAND",
        "rediss://muster:c0rrect-h0rse@127.0.0.1:6379/0",
    ),
    ("MUSTER_FLEET_TOKEN", "c0rrect-h0rse"),
    ("MUSTER_SCALER_TOKEN", "c0rrect-h0rse"),
    (
        "OTEL_EXPORTER_OTLP_HEADERS",
        "authorization=Bearer c0rrect-h0rse",
    ),
];

#[test]
fn no_help_shows_a_secret() {
    let doctor = Path::new(env!("CARGO_BIN_EXE_doctor"));
    let mut searched = Vec::new();
    for name in PROGRAMS {
        let program = doctor.with_file_name(name);
        if program.is_file() {
            search(&program, &[]);
            searched.push(name);
        }
    }
    for name in FUNCTIONS {
        let program = doctor.with_file_name(name);
        if program.is_file() {
            let output = help_of(&program, &[]);
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(text.contains("there is no function"), "{name}: {text}");
        }
    }
    assert!(searched.contains(&"doctor"), "{searched:?}");
}

/// Searches the help of a command and of its subcommands.
fn search(program: &Path, command: &[String]) {
    let output = help_of(program, command);
    let help = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && help.contains("Usage:"),
        "{program:?} {command:?}: {output:?}"
    );
    for subcommand in subcommands(&help) {
        search(program, &[command, &[subcommand]].concat());
    }
}

/// Runs a command with `--help`, and searches its output.
fn help_of(program: &Path, command: &[String]) -> Output {
    let output = Command::new(program)
        .args(command)
        .arg("--help")
        .envs(VARIABLES)
        .env_remove("_HANDLER")
        .output()
        .expect("the program starts");
    for text in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(text);
        let shows = text.contains(SECRET);
        assert!(!shows, "{program:?} {command:?} shows a secret: {text}");
    }
    output
}

/// Returns the names below the heading `Commands:`, without `help`.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = lines.take_while(|line| !line.is_empty());
    // The lines of a description that goes on are indented further.
    let named = listed.filter_map(|line| line.strip_prefix("  "));
    let names = named.filter_map(|line| line.split(' ').next());
    names
        .filter(|name| !name.is_empty() && *name != "help")
        .map(str::to_owned)
        .collect()
}
