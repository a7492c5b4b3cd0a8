//! Counts and latencies of a run, while it runs. Bounded: what it keeps does not grow with the number of requests.
//! Pure: times are durations since the run began.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::{Counter, Histogram};

use crate::drive::{Request, ResponseClass};
use crate::report::Outcome;

/// Distinct reasons of failures, and mistakes, that are kept with their text.
const MAX_TEXTS: usize = 50;
/// A day, in microseconds.
const LONGEST: u64 = 86_400_000_000;
const OTHER: &str = "other reasons";
/// When a run has more intervals, each two become one.
const MAX_INTERVALS: usize = 1800;

/// A request that has ended.
#[derive(Debug)]
pub struct Ended<'a> {
    pub request: &'a Request,
    /// When it was to be sent. Latency counts from here.
    pub due: Duration,
    pub sent: Duration,
    pub ended: Duration,
    pub outcome: &'a Outcome,
    pub class: ResponseClass,
}

/// Numbers of requests by their outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All that were to be sent.
    pub due: u64,
    /// Not sent, because too many were in flight.
    pub shed: u64,
    pub right: u64,
    pub wrong: u64,
    pub unknown: u64,
    pub refused: u64,
    pub failed: u64,
}

impl Counts {
    /// Answered with a name, or with what is wrong with the photo.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.right + self.wrong + self.unknown + self.refused
    }

    #[must_use]
    pub fn sent(&self) -> u64 {
        self.due - self.shed
    }

    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.sent().saturating_sub(self.answered() + self.failed)
    }

    fn count(&mut self, class: ResponseClass) {
        *match class {
            ResponseClass::Right => &mut self.right,
            ResponseClass::Wrong => &mut self.wrong,
            ResponseClass::Unknown => &mut self.unknown,
            ResponseClass::Refused => &mut self.refused,
            ResponseClass::Failed => &mut self.failed,
        } += 1;
    }
}

/// What happened in one interval of the run.
#[derive(Debug, Clone)]
pub struct Interval {
    pub due: u64,
    pub shed: u64,
    /// Ended in the interval.
    pub answered: u64,
    /// Ended in the interval.
    pub failed: u64,
    /// In microseconds, of the requests that were due in the interval.
    pub latency: Histogram<u32>,
}

/// All of a run.
#[derive(Debug)]
pub struct Recorder {
    pub warm_up: Duration,
    /// The length of an [`Interval`].
    pub interval: Duration,
    pub intervals: Vec<Interval>,
    /// Of the requests after the warm-up.
    pub counts: Counts,
    pub warm_up_counts: Counts,
    /// In microseconds, of the answers to requests after the warm-up.
    pub latency: Histogram<u64>,
    /// From when a request was due until it was sent, in microseconds.
    pub lag: Histogram<u64>,
    pub by_kind: BTreeMap<String, Counts>,
    pub failures: BTreeMap<String, u64>,
    /// The first wrong names by file name.
    pub mistakes: BTreeMap<String, String>,
    /// When the first request after the warm-up was due.
    pub first_due: Option<Duration>,
    pub last_due: Option<Duration>,
    pub last_answer: Option<Duration>,
}

impl Recorder {
    /// `expected` is the length of the run, if it is known: long runs have longer intervals.
    #[must_use]
    pub fn new(warm_up: Duration, expected: Option<Duration>) -> Self {
        let seconds = expected.map_or(1.0, |length| (length.as_secs_f64() / 900.0).ceil());
        Self {
            warm_up,
            interval: Duration::from_secs_f64(seconds.max(1.0)),
            intervals: Vec::new(),
            counts: Counts::default(),
            warm_up_counts: Counts::default(),
            latency: histogram(3),
            lag: histogram(3),
            by_kind: BTreeMap::new(),
            failures: BTreeMap::new(),
            mistakes: BTreeMap::new(),
            first_due: None,
            last_due: None,
            last_answer: None,
        }
    }

    /// Records that a request is due, and whether it is sent.
    pub fn due(&mut self, request: &Request, due: Duration, is_sent: bool) {
        let is_measured = due >= self.warm_up;
        if is_measured {
            self.first_due.get_or_insert(due);
            self.last_due = Some(due);
        }
        let shed = u64::from(!is_sent);
        let counts = self.counts(is_measured);
        counts.due += 1;
        counts.shed += shed;
        if is_measured && !request.kind.is_empty() {
            let kind = self.kind(&request.kind);
            kind.due += 1;
            kind.shed += shed;
        }
        let interval = self.interval_at(due);
        interval.due += 1;
        interval.shed += shed;
    }

    pub fn ended(&mut self, ended: &Ended<'_>) {
        let is_answered = ended.class != ResponseClass::Failed;
        let is_measured = ended.due >= self.warm_up;
        let latency = microseconds(ended.ended.saturating_sub(ended.due));
        if is_answered {
            record(&mut self.interval_at(ended.due).latency, latency);
        }
        let interval = self.interval_at(ended.ended);
        interval.answered += u64::from(is_answered);
        interval.failed += u64::from(!is_answered);
        self.counts(is_measured).count(ended.class);
        if is_answered {
            self.last_answer = self.last_answer.max(Some(ended.ended));
        }
        if !is_measured {
            return;
        }
        if is_answered {
            record(&mut self.latency, latency);
        }
        let lag = microseconds(ended.sent.saturating_sub(ended.due));
        record(&mut self.lag, lag);
        if !ended.request.kind.is_empty() {
            self.kind(&ended.request.kind).count(ended.class);
        }
        match ended.outcome {
            Outcome::Correct => {}
            Outcome::Failed(why) => *bounded(&mut self.failures, why).or_insert(0) += 1,
            Outcome::Wrong(how) if self.mistakes.len() < MAX_TEXTS => {
                let file_name = ended.request.file_name.clone();
                self.mistakes.insert(file_name, how.clone());
            }
            Outcome::Wrong(_) => {}
        }
    }

    fn counts(&mut self, is_measured: bool) -> &mut Counts {
        if is_measured {
            &mut self.counts
        } else {
            &mut self.warm_up_counts
        }
    }

    fn kind(&mut self, kind: &str) -> &mut Counts {
        if !self.by_kind.contains_key(kind) {
            self.by_kind.insert(kind.to_owned(), Counts::default());
        }
        self.by_kind.get_mut(kind).expect("it was inserted")
    }

    fn interval_at(&mut self, time: Duration) -> &mut Interval {
        let mut index = (time.as_secs_f64() / self.interval.as_secs_f64()) as usize;
        while index >= MAX_INTERVALS {
            self.join_intervals();
            index /= 2;
        }
        while self.intervals.len() <= index {
            self.intervals.push(Interval {
                due: 0,
                shed: 0,
                answered: 0,
                failed: 0,
                latency: histogram(2),
            });
        }
        &mut self.intervals[index]
    }
}

impl Recorder {
    fn join_intervals(&mut self) {
        self.interval *= 2;
        let mut joined: Vec<Interval> = Vec::with_capacity(MAX_INTERVALS);
        for (index, interval) in self.intervals.drain(..).enumerate() {
            match joined.last_mut() {
                Some(before) if index % 2 == 1 => before.add(&interval),
                _ => joined.push(interval),
            }
        }
        self.intervals = joined;
    }
}

impl Interval {
    fn add(&mut self, later: &Self) {
        self.due += later.due;
        self.shed += later.shed;
        self.answered += later.answered;
        self.failed += later.failed;
        self.latency
            .add(&later.latency)
            .expect("histograms that grow as needed can be added");
    }
}

fn bounded<'a>(
    texts: &'a mut BTreeMap<String, u64>,
    text: &str,
) -> std::collections::btree_map::Entry<'a, String, u64> {
    let is_new = texts.len() >= MAX_TEXTS && !texts.contains_key(text);
    texts.entry(if is_new { OTHER } else { text }.to_owned())
}

fn histogram<T: Counter>(digits: u8) -> Histogram<T> {
    Histogram::new(digits).expect("up to 5 digits are possible")
}

/// Grows the histogram as needed. Its own `saturating_record` never does.
fn record<T: Counter>(histogram: &mut Histogram<T>, microseconds: u64) {
    histogram
        .record(microseconds.min(LONGEST))
        .expect("the longest latency fits");
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn request(kind: &str) -> Request {
        Request {
            file_name: format!("{kind}.jpg"),
            kind: kind.to_owned(),
            ..Request::default()
        }
    }

    fn end(recorder: &mut Recorder, request: &Request, due: f64, ended: f64, class: ResponseClass) {
        let outcome = match class {
            ResponseClass::Right => Outcome::Correct,
            ResponseClass::Wrong | ResponseClass::Unknown => Outcome::Wrong("expected Ben".into()),
            ResponseClass::Refused | ResponseClass::Failed => Outcome::Failed("HTTP".into()),
        };
        recorder.due(request, at(due), true);
        recorder.ended(&Ended {
            request,
            due: at(due),
            sent: at(due + 0.001),
            ended: at(ended),
            outcome: &outcome,
            class,
        });
    }

    #[test]
    fn the_warm_up_is_left_out_of_the_statistics_and_stays_in_the_course_over_time() {
        let mut recorder = Recorder::new(at(2.0), None);
        let photo = request("");
        end(&mut recorder, &photo, 0.5, 4.5, ResponseClass::Right);
        end(&mut recorder, &photo, 1.5, 1.6, ResponseClass::Failed);
        end(&mut recorder, &photo, 2.0, 2.25, ResponseClass::Right);
        assert_eq!((recorder.counts.due, recorder.counts.right), (1, 1));
        assert_eq!(recorder.warm_up_counts.failed, 1);
        assert!(recorder.failures.is_empty());
        assert_eq!(recorder.latency.len(), 1);
        assert!((249_000..251_000).contains(&recorder.latency.max()));
        assert_eq!(recorder.first_due, Some(at(2.0)));
        let answered: Vec<_> = recorder.intervals.iter().map(|it| it.answered).collect();
        assert_eq!(answered, [0, 0, 1, 0, 1], "by when they ended");
        let first = &recorder.intervals[0].latency;
        assert!(first.max() > 3_900_000, "by when they were due");
    }

    #[test]
    fn requests_are_counted_by_class_and_by_kind() {
        let mut recorder = Recorder::new(at(0.0), None);
        let (small, dark) = (request("small"), request("dark"));
        for class in [
            ResponseClass::Right,
            ResponseClass::Unknown,
            ResponseClass::Refused,
        ] {
            end(&mut recorder, &small, 0.0, 0.1, class);
        }
        end(&mut recorder, &dark, 0.0, 0.1, ResponseClass::Wrong);
        end(&mut recorder, &dark, 0.0, 0.1, ResponseClass::Failed);
        recorder.due(&dark, at(0.2), false);
        recorder.due(&small, at(0.3), true);
        let counts = recorder.counts;
        assert_eq!((counts.due, counts.shed, counts.sent()), (7, 1, 6));
        assert_eq!((counts.answered(), counts.failed), (4, 1));
        assert_eq!(counts.in_flight(), 1);
        assert_eq!(recorder.by_kind["small"].answered(), 3);
        assert_eq!(recorder.by_kind["dark"].shed, 1);
        assert_eq!(recorder.latency.len(), 4, "failures have no latency");
        assert_eq!(recorder.lag.len(), 5);
    }

    #[test]
    fn a_long_run_has_longer_intervals_and_few_texts() {
        let mut recorder = Recorder::new(at(0.0), Some(at(86_400.0)));
        assert_eq!(recorder.interval, at(96.0));
        let photo = request("");
        recorder.due(&photo, at(86_399.0), true);
        assert_eq!(recorder.intervals.len(), 900);
        for number in 0..1000 {
            recorder.ended(&Ended {
                request: &photo,
                due: at(1.0),
                sent: at(1.0),
                ended: at(2.0),
                outcome: &Outcome::Failed(format!("request {number} failed")),
                class: ResponseClass::Failed,
            });
        }
        assert_eq!(recorder.failures.len(), MAX_TEXTS + 1);
        assert_eq!(recorder.failures[OTHER], 950);
    }

    #[test]
    fn a_run_of_unknown_length_has_a_bounded_number_of_intervals() {
        let mut recorder = Recorder::new(at(0.0), None);
        let photo = request("");
        for second in 0..4000 {
            let due = f64::from(second);
            end(&mut recorder, &photo, due, due + 0.5, ResponseClass::Right);
        }
        assert_eq!(recorder.interval, at(4.0));
        assert_eq!(recorder.intervals.len(), 1000);
        for interval in &recorder.intervals {
            assert_eq!((interval.due, interval.answered), (4, 4));
            assert_eq!(interval.latency.len(), 4);
        }
    }
}
