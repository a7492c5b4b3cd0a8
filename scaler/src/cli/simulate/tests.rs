use clap::Parser;
use proto::v1::{
    Bounds, Estimate, Estimates, FrontCounters, Observation, Policy, ScalerStatus, Timeouts,
};

use super::SimulateArgs;
use super::recording::{self, Recorded};
use crate::plan::PolicyKind;

#[derive(clap::Parser)]
struct CommandLine {
    #[command(flatten)]
    simulate: SimulateArgs,
}

fn command(arguments: &[&str]) -> anyhow::Result<String> {
    let arguments = ["simulate"].iter().chain(arguments);
    let mut output = Vec::new();
    CommandLine::try_parse_from(arguments)?
        .simulate
        .run(&mut output)?;
    Ok(String::from_utf8(output)?)
}

#[test]
fn the_command_prints_a_table_and_writes_figures_and_charts() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, trace) = (at("out/figures.json"), at("mine.csv"));
    std::fs::write(&trace, "seconds\n0\n0.5\n30\n").unwrap();
    let printed = command(&[
        "--trace",
        "step",
        "--trace",
        &trace,
        "--json",
        &json,
        "--svg",
        &at("charts"),
        "--html",
        &at("out/page.html"),
    ])
    .unwrap();
    assert!(printed.contains("step: 100 requests"), "{printed}");
    assert!(printed.contains("mine: 3 requests"), "{printed}");
    assert!(printed.contains("latency is "), "{printed}");
    let figures: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    for policy in PolicyKind::ALL {
        let figures = &figures["traces"]["step"][policy.name()];
        for name in [
            "p50_s",
            "p95_s",
            "p99_s",
            "cost",
            "starts",
            "reversals_per_step",
            "over_use",
        ] {
            assert!(figures[name].is_number(), "{name}: {figures}");
        }
    }
    let chart = std::fs::read_to_string(at("charts/mine.svg")).unwrap();
    assert!(chart.starts_with("<svg") && chart.ends_with("</svg>\n"));
    assert!(!chart.contains("NaN") && !chart.contains("inf"), "{chart}");
    let page = std::fs::read_to_string(at("out/page.html")).unwrap();
    for words in ["Trace step", "Trace mine", "3 requests in", "over-use"] {
        assert!(page.contains(words), "{words}: {page}");
    }
}

#[test]
fn an_impossible_simulation_is_refused() {
    let error = |arguments: &[&str]| command(arguments).unwrap_err().to_string();
    assert!(error(&["--trace", "nowhere"]).contains("there is no trace nowhere"));
    assert!(error(&["--latency-target", "0s"]).contains("--latency-target"));
    assert!(error(&["--max-workers", "0"]).contains("--max-workers"));
    assert!(error(&["--failing-boots", "1"]).contains("--failing-boots"));
    assert!(error(&["--deadly-jobs=-1"]).contains("--deadly-jobs"));
    let too_many = error(&["--max-workers", "4", "--schedule", "00:00-24:00=5"]);
    assert!(too_many.contains("asks for 5 workers"), "{too_many}");
}

#[test]
fn the_policy_schedule_has_a_default_schedule_which_the_table_names() {
    let step = ["--trace", "step", "--policy", "schedule"];
    let printed = command(&step).unwrap();
    let told = "schedule follows 00:00-24:00=8";
    assert!(printed.contains(told), "{printed}");
    let most_up = |printed: &str| {
        let row = printed.lines().find(|it| it.starts_with("  schedule  "));
        row.unwrap().split_whitespace().nth(6).unwrap().to_owned()
    };
    assert_eq!(most_up(&printed), "8", "{printed}");
    let other = [&step[..], &["--schedule", "00:00-00:30=3,22:00-02:00=2"]].concat();
    let printed = command(&other).unwrap();
    let told = "schedule follows 00:00-00:30=3,22:00-02:00=2";
    assert!(printed.contains(told), "{printed}");
    assert_eq!(most_up(&printed), "3", "{printed}");
}

#[test]
fn failures_can_be_injected() {
    let arguments = ["--trace", "step", "--policy", "latency"];
    let plain = command(&arguments).unwrap();
    assert!(!plain.contains("failing boots"), "{plain}");
    let failing = [
        &arguments[..],
        &["--failing-boots=0.2", "--deadly-jobs=0.05"],
    ]
    .concat();
    let failing = command(&failing).unwrap();
    let told = "share of failing boots 0.2, share of jobs that kill their worker 0.05";
    assert!(failing.contains(told), "{failing}");
    let row = |printed: &str| {
        let row = printed.lines().find(|it| it.starts_with("  latency  "));
        row.unwrap().to_owned()
    };
    assert_ne!(row(&plain), row(&failing));
}

/// The policy `latency` keeps workers between the bursts of `on-off`, unless it may not.
#[test]
fn keeping_no_idle_worker_costs_less() {
    let cost = |keep_idle: &str| {
        let folder = tempfile::tempdir().unwrap();
        let json = folder.path().join("figures.json");
        let arguments = [
            "--policy=latency",
            "--trace=on-off",
            "--keep-idle",
            keep_idle,
            "--json",
            json.to_str().unwrap(),
        ];
        command(&arguments).unwrap();
        let figures: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
        let figures = &figures["traces"]["on-off"]["latency"];
        figures["cost"].as_f64().unwrap()
    };
    assert!(cost("0s") < cost("auto"));
}

#[test]
fn slow_boots_answer_everything() {
    let arguments = ["--policy=latency", "--trace=step", "--boot-time=600s"];
    let printed = command(&arguments).unwrap();
    let row = printed.lines().find(|it| it.starts_with("  latency  "));
    let unanswered = row.unwrap().split_whitespace().last();
    assert_eq!(unanswered, Some("0"), "{printed}");
}

/// A recording of bursts of 60 requests in 6 s every 150 s, with measured times.
fn recording() -> String {
    let mut lines = String::new();
    let mut accepted_total = 0;
    for second in 0..3_000_i64 {
        accepted_total += if second % 150 < 6 { 10 } else { 0 };
        let estimate = |mean_seconds| Estimate {
            mean_seconds,
            spread_seconds: 0.1,
            samples: 9,
            learned: 0,
        };
        let status = ScalerStatus {
            sequence: second as u64 + 1,
            observation: Some(Observation {
                front: Some(FrontCounters {
                    accepted_total,
                    at: Some(prost_types::Timestamp {
                        seconds: 1_800_000_000 + second,
                        nanos: 0,
                    }),
                    ..FrontCounters::default()
                }),
                ..Observation::default()
            }),
            estimates: Some(Estimates {
                service: Some(estimate(0.2)),
                boot: Some(estimate(12.0)),
                ..Estimates::default()
            }),
            policy: Some(Policy {
                price_per_hour: 0.25,
                patience: Some(Timeouts {
                    boot_deadline: Some(prost_types::Duration {
                        seconds: 90,
                        nanos: 0,
                    }),
                    ..Timeouts::default()
                }),
                ..Policy::default()
            }),
            bounds: Some(Bounds {
                max_workers: 9,
                ..Bounds::default()
            }),
            ..ScalerStatus::default()
        };
        lines += &(proto::encode(&status) + "\n");
    }
    lines
}

#[test]
fn a_recording_is_a_trace_with_measured_times() {
    let text = recording();
    assert!(recording::is_recording(text.as_bytes()) && !recording::is_recording(b"1.5\n"));
    // The last line may be cut off, no other.
    let cut_off = &text.as_bytes()[..text.len() - 20];
    let (trace, recorded) = recording::parse("mine", cut_off).unwrap();
    assert_eq!(trace.arrivals(1).count(), 1_190);
    let expected = Recorded {
        service: Some(0.2),
        boot: Some(12.0),
        boot_deadline: Some(90.0),
        price_per_hour: Some(0.25),
        max_workers: Some(9),
        ..Recorded::default()
    };
    assert_eq!(recorded, expected);
    let damaged = format!("{{}}\nsoon\n{text}");
    let refused = recording::parse("mine", damaged.as_bytes()).unwrap_err();
    let error = format!("{refused:#}");
    assert!(error.contains("line 2"), "{error}");
}

#[test]
fn settings_are_chosen_by_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.jsonl");
    std::fs::write(&file, recording()).unwrap();
    let json = folder.path().join("tuned.json");
    let (file, json) = (file.to_str().unwrap(), json.to_str().unwrap());
    let printed = command(&["--tune", "--trace", file, "--json", json]).unwrap();
    for part in [
        "mine: ",
        "0.200 s a request, 12.0 s a boot",
        "--max-workers 9",
        "  scaler --policy ",
        "(default)",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let tuned: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let tuned = &tuned["tuned"][0];
    let cost = |it: &str| tuned[it]["chosen_on"]["cost"].as_f64().unwrap();
    assert!(cost("best") <= cost("defaults"), "{tuned}");
    let refused = |arguments: &[&str]| command(arguments).unwrap_err().to_string();
    assert!(refused(&["--tune"]).contains("--trace"));
    assert!(refused(&["--tune", "--trace", "on-off", "--day"]).contains("--day"));
}
