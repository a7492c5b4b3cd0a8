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
    let trace = Trace::parse("t", "timestamp,user\n100.5,a\n100.25,b\n\n102\n").unwrap();
    let arrivals: Vec<_> = trace.arrivals(1).collect();
    assert_eq!(arrivals, [0, 250_000, 1_750_000]);
    assert_eq!(trace.load_steps, 1);
    assert!(trace.length > 1.75);
}

#[test]
fn an_error_in_a_trace_names_its_line() {
    let error = |text: &str| Trace::parse("t", text).unwrap_err().to_string();
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

#[test]
fn a_counter_of_requests_becomes_a_trace() {
    // Nothing, 4 at once, a restart of front with 2, then a gap in the recording with 3.
    let readings = [
        (9.0, 7),
        (10.0, 7),
        (11.0, 11),
        (11.5, 2),
        (14.5, 5),
        (15.0, 5),
    ];
    let trace = Trace::counted("t", &readings).unwrap();
    let arrivals: Vec<_> = trace.arrivals(1).map(|at| at as f64 / 1e6).collect();
    let from_first = [
        10.9625, 10.975, 10.9875, 11.0, 11.475, 11.5, 12.5, 13.5, 14.5,
    ];
    let expected = from_first.map(|at| at - from_first[0]);
    assert_eq!(arrivals.len(), expected.len(), "{arrivals:?}");
    for (found, expected) in arrivals.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-3, "{arrivals:?}");
    }
    assert!(Trace::counted("t", &readings[..2]).is_err());
}

#[test]
fn both_parts_of_a_split_trace_begin_at_zero_and_lose_nothing() {
    let trace = Trace::named("ramp", 5).unwrap();
    let [first, rest] = trace.split(5, 0.6);
    assert_eq!((first.length, rest.length), (900.0, 600.0));
    let shifted = rest.arrivals(5).map(|at| at + 900_000_000);
    let both: Vec<_> = first.arrivals(5).chain(shifted).collect();
    assert_eq!(both, trace.arrivals(5).collect::<Vec<_>>());
}
