use std::time::Duration;

use platform::aws::{Aws, AwsArgs};
use platform::objects::Condition;
use proptest::prelude::*;

use super::record::{Holder, Record};
use super::state::{Found, Lease, Step, Written};
use super::{LONGEST_CALL, LeaseTimes};
use crate::clock::Clock;
use crate::plan::Timestamp;

const LEASE_TIME: u64 = 3000;
const PATIENCE: u64 = LEASE_TIME / 4;
const SLACK: u64 = LEASE_TIME / 5;
const STEP: u64 = 10;

/// The store, some scalers, and calls that take as long as they take.
struct Stage {
    now: u64,
    object: Option<(Record, String)>,
    versions: u64,
    scalers: Vec<Scaler>,
    /// Calls on their way to the store: when they get there, whose they are, and how long the answer takes.
    travelling: Vec<(u64, usize, u64, u64, Step)>,
    calls: u64,
    /// How long each call takes to get there and back, over and over.
    delays: Vec<(u64, u64)>,
}

struct Scaler {
    lease: Lease,
    /// Number of the call under way, the call, and when it was made.
    call: Option<(u64, Step, u64)>,
    /// When it comes, and what it says.
    answer: Option<(u64, Answer)>,
}

enum Answer {
    Found(Found),
    Written(Written),
}

impl Stage {
    fn set(scalers: usize, delays: Vec<(u64, u64)>) -> Self {
        Self {
            now: 1_000_000,
            object: None,
            versions: 0,
            scalers: (0..scalers).map(|number| scaler(number, None)).collect(),
            travelling: Vec::new(),
            calls: 0,
            delays,
        }
    }

    fn moment(&self) -> Timestamp {
        Timestamp::after_epoch(Duration::from_millis(self.now))
    }

    fn leaders(&self) -> Vec<usize> {
        let leads = |number: &usize| self.scalers[*number].lease.leads(self.moment());
        (0..self.scalers.len()).filter(leads).collect()
    }

    fn advance(&mut self) {
        self.now += STEP;
        let (arrived, travelling): (Vec<_>, Vec<_>) = std::mem::take(&mut self.travelling)
            .into_iter()
            .partition(|call| call.0 <= self.now);
        self.travelling = travelling;
        for (at, number, call, back, step) in arrived {
            let answer = self.serve(step);
            let scaler = &mut self.scalers[number];
            if scaler
                .call
                .as_ref()
                .is_some_and(|(under_way, ..)| *under_way == call)
            {
                scaler.answer = Some((at + back, answer));
            }
        }
        for number in 0..self.scalers.len() {
            self.turn(number);
        }
    }

    fn serve(&mut self, step: Step) -> Answer {
        match step {
            Step::Write(record, condition) => {
                let holds = match (&condition, &self.object) {
                    (Condition::Absent, object) => object.is_none(),
                    (Condition::Unchanged(etag), Some((_, present))) => etag == present,
                    (Condition::Unchanged(_), None) => false,
                };
                if !holds {
                    return Answer::Written(Written::Refused);
                }
                self.versions += 1;
                let etag = format!("etag-{}", self.versions);
                self.object = Some((record, etag.clone()));
                Answer::Written(Written::Stored(etag))
            }
            _ => Answer::Found(match &self.object {
                None => Found::Nothing,
                Some((record, etag)) => Found::Record(record.clone(), etag.clone()),
            }),
        }
    }

    fn turn(&mut self, number: usize) {
        let (now, moment) = (self.now, self.moment());
        let scaler = &mut self.scalers[number];
        if let Some((call, step, sent)) = scaler.call.take() {
            let sent_at = Timestamp::after_epoch(Duration::from_millis(sent));
            let answered = scaler.answer.take_if(|(at, _)| *at <= now);
            let lease = &mut scaler.lease;
            match (step, answered) {
                (Step::Write(record, _), Some((_, Answer::Written(written)))) => {
                    lease.wrote(&record, written, sent_at, moment);
                }
                (_, Some((_, Answer::Found(found)))) => lease.read(found, moment),
                (Step::Write(record, _), _) if now >= sent + PATIENCE => {
                    lease.wrote(&record, Written::Unsure, sent_at, moment);
                }
                (_, _) if now >= sent + PATIENCE => lease.not_read(moment),
                (step, _) => {
                    scaler.call = Some((call, step, sent));
                    return;
                }
            }
            scaler.answer = None;
        }
        let step = scaler.lease.next(moment);
        if !matches!(step, Step::Wait(_)) {
            self.calls += 1;
            let (there, back) = self.delays[self.calls as usize % self.delays.len()];
            scaler.call = Some((self.calls, step.clone(), now));
            self.travelling
                .push((now + there, number, self.calls, back, step));
        }
    }

    /// It dies, calls under way go on, and another one starts.
    fn replace(&mut self, number: usize) {
        self.calls += 1;
        self.scalers[number] = scaler(self.calls as usize, None);
    }

    /// Lets time pass until a scaler leads; answers which, and after how many milliseconds.
    fn until_one_leads(&mut self) -> (usize, u64) {
        let begun = self.now;
        while self.leaders().is_empty() {
            self.advance();
            assert!(self.now - begun < 100 * LEASE_TIME, "nobody ever leads");
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

fn scaler(number: usize, place: Option<&str>) -> Scaler {
    let me = Holder {
        id: format!("scaler-{number}"),
        address: format!("10.0.0.{number}:50052"),
        place: place.map(str::to_owned),
    };
    Scaler {
        lease: Lease::new(
            me,
            Duration::from_millis(LEASE_TIME),
            Duration::from_millis(SLACK),
        ),
        call: None,
        answer: None,
    }
}

fn delay() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 1_u64..60,
        2 => 60_u64..PATIENCE,
        1 => PATIENCE..4 * LEASE_TIME,
        // It never arrives.
        1 => Just(1_000_000_000),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// And never so soon after another one that a call to EC2 of that one may still be under way.
    #[test]
    fn two_scalers_never_lead_at_the_same_time(
        delays in proptest::collection::vec((delay(), delay()), 1..60),
        deaths in proptest::collection::vec((0_u64..40_000, 0_usize..3), 0..8),
    ) {
        let mut stage = Stage::set(3, delays);
        let begun = stage.now;
        let mut led_at = [0; 3];
        while stage.now < begun + 40_000 {
            stage.advance();
            for (at, number) in &deaths {
                if (at / STEP) * STEP == stage.now - begun {
                    stage.replace(*number);
                }
            }
            prop_assert!(stage.leaders().len() <= 1, "{:?} lead", stage.leaders());
            for leader in stage.leaders() {
                led_at[leader] = stage.now;
                for other in (0..3).filter(|other| *other != leader) {
                    prop_assert!(stage.now - led_at[other] + STEP >= SLACK, "{leader} leads");
                }
            }
        }
    }
}

#[test]
fn one_scaler_leads_after_two_calls_and_stays_the_leader() {
    let mut stage = Stage::set(1, vec![(20, 20)]);
    let (_, took) = stage.until_one_leads();
    assert!(took <= 2 * 40 + 5 * STEP, "{took}");
    for _ in 0..2000 {
        stage.advance();
        assert_eq!(stage.leaders(), [0]);
    }
}

#[test]
fn a_standby_takes_over_when_the_leader_is_gone() {
    let mut stage = Stage::set(2, vec![(10, 10)]);
    let (leader, _) = stage.until_one_leads();
    stage.pass(10_000);
    assert_eq!(stage.leaders(), [leader]);
    assert!(stage.scalers[1 - leader].lease.leader().is_some());
    stage.replace(leader);
    let (_, took) = stage.until_one_leads();
    let (soonest, latest) = (LEASE_TIME * 6 / 10, LEASE_TIME * 13 / 10);
    assert!((soonest..latest).contains(&took), "{took}");
}

#[test]
fn a_lease_that_was_released_is_taken_at_once() {
    let mut stage = Stage::set(2, vec![(10, 10)]);
    let (leader, _) = stage.until_one_leads();
    stage.pass(1000);
    let (record, condition) = stage.scalers[leader].lease.release().unwrap();
    stage.serve(Step::Write(record, condition));
    stage.scalers[leader] = scaler(7, None);
    let (_, took) = stage.until_one_leads();
    assert!(took < LEASE_TIME / 5, "{took}");
}

#[test]
fn a_scaler_that_listens_where_the_dead_leader_did_takes_over_at_once() {
    let mut stage = Stage::set(1, vec![(10, 10)]);
    stage.scalers[0] = scaler(0, Some("boot net 0.0.0.0:50052"));
    stage.until_one_leads();
    stage.scalers[0] = scaler(1, Some("boot net 0.0.0.0:50052"));
    let (_, took) = stage.until_one_leads();
    assert!(took < 100, "{took}");
}

#[test]
fn the_longest_call_to_ec2_ends_within_the_slack_of_every_lease_time() {
    for seconds in [15, 20, 600] {
        let times = LeaseTimes::of(Duration::from_secs(seconds)).unwrap();
        assert!(times.slack > LONGEST_CALL);
        // What is left is enough to renew it, and to fail to once.
        let renewed = times.lease / 3 + times.lease / 4;
        assert!(times.lease - times.slack > renewed, "{times:?}");
    }
    for seconds in [0, 1, 14] {
        assert!(LeaseTimes::of(Duration::from_secs(seconds)).is_err());
    }
}

#[test]
fn a_leader_without_a_store_steps_down_before_its_lease_is_over() {
    let mut stage = Stage::set(1, vec![(10, 10)]);
    stage.until_one_leads();
    stage.pass(10_000);
    stage.delays = vec![(1_000_000_000, 0)];
    let cut_off = stage.now;
    while !stage.leaders().is_empty() {
        stage.advance();
        assert!(stage.now - cut_off < LEASE_TIME * 8 / 10 + STEP);
    }
    stage.delays = vec![(10, 10)];
    stage.until_one_leads();
}

#[test]
fn a_renewal_whose_answer_was_lost_counts_from_when_it_was_sent() {
    let mut stage = Stage::set(1, vec![(10, 10)]);
    stage.until_one_leads();
    // It arrives, its answer does not.
    stage.delays = vec![(10, 1_000_000_000)];
    stage.pass(LEASE_TIME / 3 + PATIENCE);
    stage.delays = vec![(10, 10)];
    stage.pass(LEASE_TIME / 5);
    for _ in 0..500 {
        stage.advance();
        assert_eq!(stage.leaders(), [0]);
    }
}

#[test]
fn leadership_counts_from_the_sending_of_the_write() {
    let at = |milliseconds| Timestamp::after_epoch(Duration::from_millis(milliseconds));
    let mut lease = scaler(0, None).lease;
    lease.read(Found::Nothing, at(10));
    let Step::Write(record, _) = lease.next(at(10)) else {
        panic!("a free lease is taken")
    };
    lease.wrote(&record, Written::Stored("etag".to_owned()), at(10), at(700));
    assert_eq!(lease.leads_until(), Some(at(10 + LEASE_TIME * 8 / 10)));
}

#[test]
fn records_survive_the_wire() {
    let holder = Holder {
        id: "a".to_owned(),
        address: "10.0.0.1:50052".to_owned(),
        place: None,
    };
    let record = Record {
        holder,
        renewals: 7,
        lease_time_ms: 10_000,
        released: false,
    };
    assert_eq!(Record::decode(&record.encode()).unwrap(), record);
    assert!(Record::decode(b"{}").is_err());
}

#[tokio::test]
async fn a_scaler_that_never_reached_the_store_stands_by() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    let args = AwsArgs {
        endpoint_url: Some(format!("http://{address}")),
        region: "us-east-1".to_owned(),
        prefix: "muster".to_owned(),
    };
    let aws = Aws::connect_as(&args, "test", "test").await;
    let (leadership, keeper) = super::keep(
        aws.objects("muster-scaler-bucket"),
        Clock::start(),
        LeaseTimes {
            lease: Duration::from_millis(500),
            slack: Duration::from_millis(100),
        },
        "10.0.0.1:50052".to_owned(),
        address,
    );
    let why = leadership.settled().await.expect("it does not lead");
    assert_eq!(why, "the lease cannot be read: S3 does not answer");
    keeper.release().await;
}
