use proptest::prelude::*;

use super::*;

const PRICES: Prices = Prices {
    // A dollar for a thousand seconds.
    per_hour: 3.6,
    minimum: Duration::from_secs(60),
};

fn at(seconds: f64) -> Timestamp {
    Timestamp::after_epoch(Duration::from_secs_f64(seconds))
}

fn instance(id: &str, state: InstanceState, started_at: f64) -> Instance {
    Instance {
        id: id.into(),
        number: None,
        state,
        since: Timestamp::default(),
        heard: None,
        started_at: Some(at(started_at)),
        running_since: None,
        listed: true,
        leaving: false,
        outdated: false,
    }
}

fn seconds(billing: Billing) -> f64 {
    (billing.spent * 1_000_000.0).round() / 1_000.0
}

#[test]
fn a_start_is_billed_by_the_begun_second_from_the_order_to_the_stop() {
    let mut ledger = Ledger::open(PRICES, at(0.0));
    ledger.note(
        &[instance("i-1", InstanceState::Pending, 10.0)],
        &[],
        at(10.0),
    );
    ledger.note(&[instance("i-1", InstanceState::Idle, 10.4)], &[], at(30.0));
    let billing = ledger.note(
        &[instance("i-1", InstanceState::Busy, 10.4)],
        &[],
        at(100.5),
    );
    assert_eq!(seconds(billing), 91.0);
    assert_eq!((billing.still_paid, billing.paid_off_at), (0, None));
    ledger.note(
        &[instance("i-1", InstanceState::Stopping, 10.4)],
        &[],
        at(110.0),
    );
    let billing = ledger.note(
        &[instance("i-1", InstanceState::Stopped, 10.4)],
        &[],
        at(500.0),
    );
    assert_eq!(seconds(billing), 100.0);
}

#[test]
fn a_start_is_billed_for_the_minimum_and_still_paid_for_after_it_was_stopped() {
    let mut ledger = Ledger::open(PRICES, at(0.0));
    ledger.note(
        &[instance("i-1", InstanceState::Booting, 10.0)],
        &[],
        at(11.0),
    );
    let billing = ledger.note(
        &[instance("i-1", InstanceState::Stopping, 10.0)],
        &[],
        at(20.0),
    );
    assert_eq!(seconds(billing), 60.0);
    assert_eq!(
        (billing.still_paid, billing.paid_off_at),
        (1, Some(at(70.0)))
    );
    // Started again at once, it is paid for twice.
    let billing = ledger.note(
        &[instance("i-1", InstanceState::Booting, 30.0)],
        &[],
        at(31.0),
    );
    assert_eq!((seconds(billing), billing.still_paid), (120.0, 1));
    let billing = ledger.note(&[instance("i-1", InstanceState::Idle, 30.0)], &[], at(70.0));
    assert_eq!((seconds(billing), billing.still_paid), (120.0, 0));
}

#[test]
fn an_instance_that_never_came_to_run_costs_nothing() {
    let mut ledger = Ledger::open(PRICES, at(0.0));
    ledger.note(
        &[instance("i-1", InstanceState::Stopped, 5.0)],
        &[],
        at(100.0),
    );
    ledger.note(
        &[instance("i-1", InstanceState::Pending, 101.0)],
        &[],
        at(101.0),
    );
    // The call was refused: EC2 still lists the earlier start.
    let refused = ledger.note(
        &[instance("i-1", InstanceState::Stopped, 5.0)],
        &[],
        at(102.0),
    );
    assert_eq!((seconds(refused), refused.still_paid), (60.0, 0));
    ledger.note(
        &[instance("i-2", InstanceState::Pending, 103.0)],
        &[],
        at(103.0),
    );
    let gone = ledger.note(&[], &[], at(104.0));
    assert_eq!((seconds(gone), gone.still_paid), (60.0, 0));
}

/// EC2 refuses to start it for lack of capacity, so that observations leave it out for two minutes.
#[test]
fn an_instance_that_is_left_out_for_a_while_is_not_billed_again() {
    let mut ledger = Ledger::open(PRICES, at(0.0));
    let stopped = instance("i-1", InstanceState::Stopped, 10.0);
    let ids = [InstanceId::from("i-1")];
    ledger.note(&[instance("i-1", InstanceState::Busy, 10.0)], &[], at(20.0));
    ledger.note(std::slice::from_ref(&stopped), &ids, at(110.0));
    for round in 1..5 {
        let left_out = ledger.note(&[], &ids, at(f64::from(round) * 240.0));
        assert_eq!((seconds(left_out), left_out.still_paid), (100.0, 0));
        let back = std::slice::from_ref(&stopped);
        let back = ledger.note(back, &ids, at(f64::from(round) * 240.0 + 120.0));
        assert_eq!((seconds(back), back.still_paid), (100.0, 0));
    }
    // Another start counts.
    let again = ledger.note(
        &[instance("i-1", InstanceState::Idle, 2_000.0)],
        &[],
        at(2_001.0),
    );
    assert_eq!(seconds(again), 160.0);
}

#[test]
fn a_refused_stop_does_not_begin_another_start() {
    let mut ledger = Ledger::open(PRICES, at(0.0));
    ledger.note(&[instance("i-1", InstanceState::Idle, 10.0)], &[], at(10.0));
    ledger.note(
        &[instance("i-1", InstanceState::Stopping, 10.0)],
        &[],
        at(100.0),
    );
    ledger.note(
        &[instance("i-1", InstanceState::Idle, 10.0)],
        &[],
        at(101.0),
    );
    let billing = ledger.note(
        &[instance("i-1", InstanceState::Idle, 10.0)],
        &[],
        at(110.0),
    );
    assert_eq!(seconds(billing), 100.0);
}

#[test]
fn after_a_restart_ec2_tells_what_is_still_paid_for_and_only_what_accrues_counts() {
    let mut ledger = Ledger::open(PRICES, at(1_000.0));
    let fleet = [
        instance("i-1", InstanceState::Stopped, 970.0),
        instance("i-2", InstanceState::Stopped, 500.0),
        instance("i-3", InstanceState::Busy, 990.0),
        instance("i-4", InstanceState::Idle, 100.0),
    ];
    let billing = ledger.note(&fleet, &[], at(1_010.0));
    // The minimum of the third accrued under the earlier scaler.
    assert_eq!(seconds(billing), 10.0);
    assert_eq!(
        (billing.still_paid, billing.paid_off_at),
        (1, Some(at(1_030.0)))
    );
    assert_eq!(seconds(ledger.note(&fleet, &[], at(1_100.0))), 50.0 + 100.0);
}

/// One start of an instance, in tenths of a second.
#[derive(Debug, Clone, Copy)]
struct Run {
    rest: u64,
    pending: u64,
    /// 0: it never comes to run.
    up: u64,
}

fn runs() -> impl Strategy<Value = Vec<Run>> {
    let up = prop_oneof![Just(0), 1_u64..2_000];
    let run =
        (1_u64..1_500, 1_u64..50, up).prop_map(|(rest, pending, up)| Run { rest, pending, up });
    prop::collection::vec(run, 1..5)
}

/// Begin, first moment of running and end of each start.
fn periods(runs: &[Run]) -> Vec<(u64, u64, u64)> {
    let mut now = 0;
    let periods = runs.iter().map(|run| {
        let begin = now + run.rest;
        let ran = begin + run.pending;
        now = ran + run.up;
        (begin, ran, now)
    });
    periods.collect()
}

fn seen(id: usize, starts: &[(u64, u64, u64)], now: u64) -> Option<Instance> {
    let &(begin, ran, end) = starts.iter().rev().find(|(begin, ..)| *begin <= now)?;
    let state = match now {
        _ if now >= end && ran == end => InstanceState::Stopped,
        _ if now >= end && now < end + 5 => InstanceState::Stopping,
        _ if now >= end => InstanceState::Stopped,
        _ if now >= ran => InstanceState::Busy,
        _ => InstanceState::Pending,
    };
    Some(instance(&format!("i-{id}"), state, begin as f64 / 10.0))
}

/// Counts second by second.
fn brute_force(starts: &[(u64, u64, u64)], opened_at: u64, now: u64) -> u64 {
    let mut seconds = 0;
    for &(begin, ran, end) in starts.iter().filter(|it| it.1 <= now && it.1 < it.2) {
        let billed = |until: u64| {
            let end = until.min(end).max(begin + 600);
            (0..).take_while(|second| begin + second * 10 < end).count() as u64
        };
        seconds += billed(now);
        if begin < opened_at && ran < end {
            seconds -= billed(opened_at).min(billed(now));
        }
    }
    seconds
}

proptest! {
    #[test]
    fn spent_never_decreases_and_equals_the_sum_of_all_begun_seconds(
        fleet in prop::collection::vec(runs(), 1..6),
        opened_at in 0_u64..1_000,
        ending in 1_u64..1_000,
    ) {
        let fleet: Vec<_> = fleet.iter().map(|runs| periods(runs)).collect();
        let last = fleet.iter().flatten().map(|start| start.2).max().unwrap_or(0) + ending;
        let mut ledger = Ledger::open(PRICES, at(opened_at as f64 / 10.0));
        let mut spent = 0.0;
        for now in opened_at..=last.max(opened_at) {
            let instances: Vec<_> = fleet
                .iter()
                .enumerate()
                .filter_map(|(id, starts)| seen(id, starts, now))
                .collect();
            let billing = ledger.note(&instances, &[], at(now as f64 / 10.0));
            prop_assert!(billing.spent >= spent, "{} after {spent}", billing.spent);
            spent = billing.spent;
            // EC2 lists an old start that failed to boot as stopped, so it may have run.
            let expected: u64 = fleet
                .iter()
                .map(|starts| {
                    let known: Vec<_> = starts.iter().copied().filter(|it| it.2 > opened_at || it.0 >= opened_at).collect();
                    brute_force(&known, opened_at, now)
                })
                .sum();
            prop_assert_eq!(seconds(billing), expected as f64, "at {}", now);
        }
    }
}
