use std::time::Duration;

use platform::aws::{Aws, AwsArgs};
use platform::objects::Condition;
use proptest::prelude::*;

use super::record::{Holder, LeaseRecord};
use super::state::{Lease, ReadOutcome, Step, WriteOutcome};
use super::{LONGEST_CALL, LeaseTimes};
use crate::clock::Clock;
use crate::plan::Timestamp;

const LEASE_TIME: u64 = 3000;
const CALL_TIMEOUT: u64 = LEASE_TIME / 4;
const SLACK: u64 = LEASE_TIME / 5;
const STEP: u64 = 10;

/// A store and some scalers, with calls whose delays the test sets.
struct Simulation {
    now: u64,
    object: Option<(LeaseRecord, String)>,
    versions: u64,
    scalers: Vec<Scaler>,
    /// Calls in flight to the store: arrival time, scaler, number of the call, and delay of the reply.
    in_flight: Vec<(u64, usize, u64, u64, Step)>,
    calls: u64,
    /// Delays of the calls and of their replies, used in turn.
    delays: Vec<(u64, u64)>,
}

struct Scaler {
    lease: Lease,
    /// Number of the call in flight, the call, and when it was sent.
    call: Option<(u64, Step, u64)>,
    /// When it arrives.
    reply: Option<(u64, Reply)>,
}

enum Reply {
    Read(ReadOutcome),
    Written(WriteOutcome),
}

impl Simulation {
    fn new(scalers: usize, delays: Vec<(u64, u64)>) -> Self {
        Self {
            now: 1_000_000,
            object: None,
            versions: 0,
            scalers: (0..scalers).map(|number| scaler(number, None)).collect(),
            in_flight: Vec::new(),
            calls: 0,
            delays,
        }
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::after_epoch(Duration::from_millis(self.now))
    }

    fn leaders(&self) -> Vec<usize> {
        let leads = |number: &usize| {
            let until = self.scalers[*number].lease.leads_until();
            until.is_some_and(|until| self.timestamp() < until)
        };
        (0..self.scalers.len()).filter(leads).collect()
    }

    fn advance(&mut self) {
        self.now += STEP;
        let (arrived, in_flight): (Vec<_>, Vec<_>) = std::mem::take(&mut self.in_flight)
            .into_iter()
            .partition(|call| call.0 <= self.now);
        self.in_flight = in_flight;
        for (at, number, call, back, step) in arrived {
            let reply = self.serve(step);
            let scaler = &mut self.scalers[number];
            if scaler
                .call
                .as_ref()
                .is_some_and(|(number, ..)| *number == call)
            {
                scaler.reply = Some((at + back, reply));
            }
        }
        for number in 0..self.scalers.len() {
            self.step(number);
        }
    }

    fn serve(&mut self, step: Step) -> Reply {
        match step {
            Step::Write(record, condition) => {
                let holds = match (&condition, &self.object) {
                    (Condition::Absent, object) => object.is_none(),
                    (Condition::Unchanged(etag), Some((_, present))) => etag == present,
                    (Condition::Unchanged(_), None) => false,
                };
                if !holds {
                    return Reply::Written(WriteOutcome::Refused);
                }
                self.versions += 1;
                let etag = format!("etag-{}", self.versions);
                self.object = Some((record, etag.clone()));
                Reply::Written(WriteOutcome::Stored(etag))
            }
            _ => Reply::Read(match &self.object {
                None => ReadOutcome::Nothing,
                Some((record, etag)) => ReadOutcome::Record(record.clone(), etag.clone()),
            }),
        }
    }

    fn step(&mut self, number: usize) {
        let (now, at) = (self.now, self.timestamp());
        let scaler = &mut self.scalers[number];
        if let Some((call, step, sent)) = scaler.call.take() {
            let sent_at = Timestamp::after_epoch(Duration::from_millis(sent));
            let replied = scaler.reply.take_if(|(at, _)| *at <= now);
            let lease = &mut scaler.lease;
            match (step, replied) {
                (Step::Write(record, _), Some((_, Reply::Written(written)))) => {
                    lease.wrote(&record, written, sent_at, at);
                }
                (_, Some((_, Reply::Read(found)))) => lease.read(found, at),
                (Step::Write(record, _), _) if now >= sent + CALL_TIMEOUT => {
                    lease.wrote(&record, WriteOutcome::Unconfirmed, sent_at, at);
                }
                (_, _) if now >= sent + CALL_TIMEOUT => lease.not_read(at),
                (step, _) => {
                    scaler.call = Some((call, step, sent));
                    return;
                }
            }
            scaler.reply = None;
        }
        let step = scaler.lease.next(at);
        if !matches!(step, Step::Wait(_)) {
            self.calls += 1;
            let (there, back) = self.delays[self.calls as usize % self.delays.len()];
            scaler.call = Some((self.calls, step.clone(), now));
            self.in_flight
                .push((now + there, number, self.calls, back, step));
        }
    }

    /// Replaces a scaler that dies. Its calls in flight continue.
    fn replace(&mut self, number: usize) {
        self.calls += 1;
        self.scalers[number] = scaler(self.calls as usize, None);
    }

    /// Advances until a scaler leads. Returns its number and the milliseconds that passed.
    fn until_one_leads(&mut self) -> (usize, u64) {
        let begun = self.now;
        while self.leaders().is_empty() {
            self.advance();
            assert!(self.now - begun < 100 * LEASE_TIME, "no scaler ever leads");
        }
        (self.leaders()[0], self.now - begun)
    }

    fn pass(&mut self, milliseconds: u64) {
        let until = self.now + milliseconds;
        while self.now < until {
            self.advance();
        }
    }
}

fn scaler(number: usize, socket: Option<&str>) -> Scaler {
    let me = Holder {
        id: format!("scaler-{number}"),
        address: format!("10.0.0.{number}:50052"),
        socket: socket.map(str::to_owned),
    };
    Scaler {
        lease: Lease::new(
            me,
            Duration::from_millis(LEASE_TIME),
            Duration::from_millis(SLACK),
        ),
        call: None,
        reply: None,
    }
}

fn delay() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 1_u64..60,
        2 => 60_u64..CALL_TIMEOUT,
        1 => CALL_TIMEOUT..4 * LEASE_TIME,
        // Lost.
        1 => Just(1_000_000_000),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// And no scaler leads so soon after another that a call of that one to EC2 may still be in flight.
    #[test]
    fn two_scalers_never_lead_at_the_same_time(
        delays in proptest::collection::vec((delay(), delay()), 1..60),
        deaths in proptest::collection::vec((0_u64..40_000, 0_usize..3), 0..8),
    ) {
        let mut simulation = Simulation::new(3, delays);
        let begun = simulation.now;
        let mut led_at = [0; 3];
        while simulation.now < begun + 40_000 {
            simulation.advance();
            for (at, number) in &deaths {
                if (at / STEP) * STEP == simulation.now - begun {
                    simulation.replace(*number);
                }
            }
            prop_assert!(simulation.leaders().len() <= 1, "{:?} lead", simulation.leaders());
            for leader in simulation.leaders() {
                led_at[leader] = simulation.now;
                for other in (0..3).filter(|other| *other != leader) {
                    prop_assert!(simulation.now - led_at[other] + STEP >= SLACK, "{leader} leads");
                }
            }
        }
    }
}

#[test]
fn one_scaler_leads_after_two_calls_and_stays_the_leader() {
    let mut simulation = Simulation::new(1, vec![(20, 20)]);
    let (_, took) = simulation.until_one_leads();
    assert!(took <= 2 * 40 + 5 * STEP, "{took}");
    for _ in 0..2000 {
        simulation.advance();
        assert_eq!(simulation.leaders(), [0]);
    }
}

#[test]
fn a_standby_takes_over_when_the_leader_dies() {
    let mut simulation = Simulation::new(2, vec![(10, 10)]);
    let (leader, _) = simulation.until_one_leads();
    simulation.pass(10_000);
    assert_eq!(simulation.leaders(), [leader]);
    assert!(simulation.scalers[1 - leader].lease.leader().is_some());
    simulation.replace(leader);
    let (_, took) = simulation.until_one_leads();
    let (soonest, latest) = (LEASE_TIME * 6 / 10, LEASE_TIME * 13 / 10);
    assert!((soonest..latest).contains(&took), "{took}");
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let mut simulation = Simulation::new(2, vec![(10, 10)]);
    let (leader, _) = simulation.until_one_leads();
    simulation.pass(1000);
    let (record, condition) = simulation.scalers[leader].lease.release().unwrap();
    simulation.serve(Step::Write(record, condition));
    simulation.scalers[leader] = scaler(7, None);
    let (_, took) = simulation.until_one_leads();
    assert!(took < LEASE_TIME / 5, "{took}");
}

#[test]
fn a_scaler_with_the_socket_of_the_dead_leader_takes_over_at_once() {
    let mut simulation = Simulation::new(1, vec![(10, 10)]);
    simulation.scalers[0] = scaler(0, Some("boot net 0.0.0.0:50052"));
    simulation.until_one_leads();
    simulation.scalers[0] = scaler(1, Some("boot net 0.0.0.0:50052"));
    let (_, took) = simulation.until_one_leads();
    assert!(took < 100, "{took}");
}

/// It may have been killed during a launch that EC2 does not list yet.
#[test]
fn the_next_leader_knows_whether_the_former_one_released_the_lease() {
    let at = |milliseconds| Timestamp::after_epoch(Duration::from_millis(milliseconds));
    let socket = "boot net 0.0.0.0:50052";
    for (released, expected) in [(true, None), (false, Some(at(100)))] {
        let mut former = scaler(1, Some(socket)).lease;
        former.read(ReadOutcome::Nothing, at(0));
        let Step::Write(mut record, _) = former.next(at(0)) else {
            panic!("a free lease is taken")
        };
        record.released = released;
        let mut lease = scaler(2, Some(socket)).lease;
        lease.read(ReadOutcome::Record(record, "theirs".to_owned()), at(100));
        let Step::Write(mine, _) = lease.next(at(100)) else {
            panic!("it is taken at once")
        };
        let stored = WriteOutcome::Stored("mine".to_owned());
        lease.wrote(&mine, stored, at(100), at(110));
        assert_eq!(lease.unreleased_at(), expected);
        // Its own record changes nothing.
        lease.read(ReadOutcome::Record(mine, "mine".to_owned()), at(900));
        assert_eq!(lease.unreleased_at(), expected);
        assert_eq!(former.unreleased_at(), None);
    }
}

#[test]
fn the_longest_call_to_ec2_ends_within_the_slack_of_every_lease_time() {
    for seconds in [15, 20, 600] {
        let times = LeaseTimes::of(Duration::from_secs(seconds)).unwrap();
        assert!(times.slack > LONGEST_CALL);
        // The rest is enough for one failed renewal and one that succeeds.
        let renewed = times.lease / 3 + times.lease / 4;
        assert!(times.lease - times.slack > renewed, "{times:?}");
    }
    for seconds in [0, 1, 14] {
        assert!(LeaseTimes::of(Duration::from_secs(seconds)).is_err());
    }
}

#[test]
fn a_leader_without_a_store_steps_down_before_its_lease_is_over() {
    let mut simulation = Simulation::new(1, vec![(10, 10)]);
    simulation.until_one_leads();
    simulation.pass(10_000);
    simulation.delays = vec![(1_000_000_000, 0)];
    let cut_off = simulation.now;
    while !simulation.leaders().is_empty() {
        simulation.advance();
        assert!(simulation.now - cut_off < LEASE_TIME * 8 / 10 + STEP);
    }
    simulation.delays = vec![(10, 10)];
    simulation.until_one_leads();
}

#[test]
fn a_renewal_whose_reply_was_lost_counts_from_when_it_was_sent() {
    let mut simulation = Simulation::new(1, vec![(10, 10)]);
    simulation.until_one_leads();
    // The write arrives, its reply is lost.
    simulation.delays = vec![(10, 1_000_000_000)];
    simulation.pass(LEASE_TIME / 3 + CALL_TIMEOUT);
    simulation.delays = vec![(10, 10)];
    simulation.pass(LEASE_TIME / 5);
    for _ in 0..500 {
        simulation.advance();
        assert_eq!(simulation.leaders(), [0]);
    }
}

#[test]
fn leadership_counts_from_the_sending_of_the_write() {
    let at = |milliseconds| Timestamp::after_epoch(Duration::from_millis(milliseconds));
    let mut lease = scaler(0, None).lease;
    lease.read(ReadOutcome::Nothing, at(10));
    let Step::Write(record, _) = lease.next(at(10)) else {
        panic!("a free lease is taken")
    };
    lease.wrote(
        &record,
        WriteOutcome::Stored("etag".to_owned()),
        at(10),
        at(700),
    );
    assert_eq!(lease.leads_until(), Some(at(10 + LEASE_TIME * 8 / 10)));
}

/// Its holder may be a newer scaler that renews it.
#[test]
fn an_unreadable_lease_is_taken_after_the_lease_time() {
    let at = |milliseconds| Timestamp::after_epoch(Duration::from_millis(milliseconds));
    let unreadable = |etag: &str| ReadOutcome::Unreadable(etag.to_owned());
    let mut lease = scaler(0, None).lease;
    lease.read(unreadable("first"), at(0));
    lease.read(unreadable("renewed"), at(1_000));
    assert!(matches!(lease.next(at(1_000)), Step::Wait(_)));
    let lapses_at = 1_000 + LEASE_TIME;
    lease.read(unreadable("renewed"), at(lapses_at - 1));
    assert_eq!(lease.next(at(lapses_at - 1)), Step::Wait(at(lapses_at)));
    assert!(lease.has_unknown_holder() && lease.leads_until().is_none());
    let Step::Write(_, condition) = lease.next(at(lapses_at)) else {
        panic!("it has lapsed")
    };
    assert_eq!(condition, Condition::Unchanged("renewed".to_owned()));
}

#[test]
fn a_deleted_lease_is_taken_at_once_only_by_the_leader() {
    let mut simulation = Simulation::new(2, vec![(10, 10)]);
    let (leader, _) = simulation.until_one_leads();
    simulation.pass(1_000);
    for _ in 0..5 {
        simulation.object = None;
        simulation.pass(LEASE_TIME);
        assert_eq!(simulation.leaders(), [leader]);
    }
}

#[test]
fn records_survive_the_wire() {
    let holder = Holder {
        id: "a".to_owned(),
        address: "10.0.0.1:50052".to_owned(),
        socket: None,
    };
    let record = LeaseRecord {
        holder,
        renewals: 7,
        lease_time_ms: 10_000,
        released: false,
    };
    assert_eq!(LeaseRecord::decode(&record.encode()).unwrap(), record);
    assert!(LeaseRecord::decode(b"{}").is_err());
}

#[tokio::test]
async fn a_scaler_that_never_reached_the_store_stands_by() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let args = AwsArgs {
        endpoint_url: Some(format!("http://{address}")),
        region: Some("us-east-1".to_owned()),
        prefix: "muster".to_owned(),
    };
    let aws = Aws::connect_as(&args, "test", "test").await;
    let (leadership, guard) = super::compete(
        aws.objects("muster-scaler-bucket"),
        Clock::start(),
        LeaseTimes {
            lease: Duration::from_millis(500),
            slack: Duration::from_millis(100),
        },
        "10.0.0.1:50052".to_owned(),
        address,
    );
    let why = leadership.known().await.expect("it does not lead");
    assert_eq!(why, "the lease cannot be read: S3 does not answer");
    guard.release().await;
}
