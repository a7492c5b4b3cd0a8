use super::recorded::parse;
use super::*;

#[test]
fn all_traces_are_in_order_and_end_in_time() {
    for name in NAMES {
        let trace = Trace::named(name, 7).expect("the trace has a name of the table");
        let arrivals: Vec<_> = trace.arrivals(7).collect();
        assert!(arrivals.is_sorted(), "{name}");
        assert!(
            *arrivals.last().unwrap() < (trace.length * 1e6) as Micros,
            "{name}"
        );
        let again: Vec<_> = trace.arrivals(7).collect();
        assert_eq!(arrivals, again, "{name}");
        if name != "step" {
            let other = Trace::named(name, 8).unwrap();
            assert!(other.arrivals(8).ne(arrivals), "{name}");
        }
    }
}

#[test]
fn rates_are_those_of_the_table() {
    let count = |name: &str, from: u64, to: u64| {
        let trace = Trace::named(name, 3).unwrap();
        let within = |at: &Micros| (from * 1_000_000..to * 1_000_000).contains(at);
        trace.arrivals(3).filter(within).count() as f64 / (to - from) as f64
    };
    for (name, from, to, rate) in [
        ("ramp", 600, 900, 40.0),
        ("ramp", 290, 310, 20.0),
        ("flash-crowd", 0, 600, 4.0),
        ("flash-crowd", 600, 1_200, 40.0),
        ("on-off", 300, 420, 40.0),
        ("on-off", 121, 300, 0.0),
        ("diurnal", 42_000, 44_400, 40.0),
        ("diurnal", 0, 1_200, 2.0),
    ] {
        let found = count(name, from, to);
        assert!(
            (found - rate).abs() <= 0.1 * rate + 0.01,
            "{name} from {from}: {found}"
        );
    }
}

#[test]
fn a_recorded_trace_begins_with_its_first_arrival() {
    let trace = parse("t", "timestamp,user\n100.5,a\n100.25,b\n\n102\n").unwrap();
    let arrivals: Vec<_> = trace.arrivals(1).collect();
    assert_eq!(arrivals, [0, 250_000, 1_750_000]);
    assert_eq!(trace.load_steps, 1);
    assert!(trace.length > 1.75);
}

#[test]
fn an_error_in_a_trace_names_its_line() {
    let error = |text: &str| parse("t", text).unwrap_err().to_string();
    assert!(
        error("time\n1.0\nsoon\n").contains("line 3"),
        "{}",
        error("time\n1.0\nsoon\n")
    );
    assert!(error("1.0\n2.0\ninf\n").contains("line 3"));
    assert!(error("header\n").contains("no arrivals"));
    assert!(error("").contains("no arrivals"));
    assert!(error("0\n1e12\n").contains("longer"));
}
