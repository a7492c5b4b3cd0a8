//! What the gateway answered in the last minute, for the page.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use serde::Serialize;

/// Seconds that the rates and percentiles cover.
const WINDOW: u64 = 60;
/// Latencies are counted in tenths of a millisecond, to two digits, up to 300 s.
const UNITS_PER_SECOND: f64 = 10_000.0;
const LONGEST: u64 = 3_000_000;
const DIGITS: u8 = 2;

/// Counts requests. Recording one is a lock, which is held briefly, and a few increments. Once a second, the request that begins
/// a new second also takes the oldest one out of the sum. Percentiles are computed from the sum when they are asked for.
#[derive(Debug)]
pub struct Traffic {
    started: Instant,
    in_flight: AtomicUsize,
    window: Mutex<Window>,
}

/// The last seconds. `now` is in seconds since the start.
#[derive(Debug)]
struct Window {
    /// By number modulo [`WINDOW`].
    seconds: Vec<Second>,
    /// Of all seconds in the window.
    latencies: Histogram<u32>,
    /// Since the start.
    answered: u64,
    failed: u64,
}

#[derive(Debug)]
struct Second {
    number: u64,
    latencies: Histogram<u32>,
}

/// The event `traffic`.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficReport {
    /// In RFC 3339.
    at: String,
    in_flight: usize,
    /// Requests answered with a name since the gateway started.
    answered: u64,
    /// Other responses since then.
    failed: u64,
    /// Requests answered a second, in the last minute.
    per_second: f64,
    /// Of requests answered in the last minute.
    latency_ms: Option<Percentiles>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Percentiles {
    p50: f64,
    p95: f64,
    p99: f64,
}

impl Traffic {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            in_flight: AtomicUsize::new(0),
            window: Mutex::new(Window::new()),
        }
    }

    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn answered(&self, latency: Duration) {
        let now = self.started.elapsed().as_secs();
        self.window().answered(now, latency);
    }

    pub fn failed(&self) {
        self.window().failed += 1;
    }

    pub fn report(&self) -> TrafficReport {
        let elapsed = self.started.elapsed();
        let mut window = self.window();
        window.forget(elapsed.as_secs());
        let covered = elapsed.as_secs_f64().clamp(1.0, WINDOW as f64);
        TrafficReport {
            at: prost_types::Timestamp::from(SystemTime::now()).to_string(),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            answered: window.answered,
            failed: window.failed,
            per_second: window.latencies.len() as f64 / covered,
            latency_ms: window.percentiles(),
        }
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn new() -> Self {
        let latencies =
            || Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("the bounds are in order");
        let seconds = (0..WINDOW).map(|number| Second {
            number,
            latencies: latencies(),
        });
        Self {
            seconds: seconds.collect(),
            latencies: latencies(),
            answered: 0,
            failed: 0,
        }
    }

    fn answered(&mut self, now: u64, latency: Duration) {
        self.answered += 1;
        let units = (latency.as_secs_f64() * UNITS_PER_SECOND) as u64;
        let second = &mut self.seconds[(now % WINDOW) as usize];
        if second.number != now {
            second.forget(&mut self.latencies);
            second.number = now;
        }
        second.latencies.saturating_record(units);
        self.latencies.saturating_record(units);
    }

    /// Forgets the seconds that have left the window.
    fn forget(&mut self, now: u64) {
        for second in &mut self.seconds {
            if second.number + WINDOW <= now {
                second.forget(&mut self.latencies);
            }
        }
    }

    fn percentiles(&self) -> Option<Percentiles> {
        let quantile = |share| {
            let units = self.latencies.value_at_quantile(share);
            units as f64 * 1000.0 / UNITS_PER_SECOND
        };
        (!self.latencies.is_empty()).then(|| Percentiles {
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
        })
    }
}

impl Second {
    /// Takes the second out of `sum`.
    fn forget(&mut self, sum: &mut Histogram<u32>) {
        if self.latencies.is_empty() {
            return;
        }
        sum.subtract(&self.latencies)
            .expect("the sum counts what its seconds count");
        self.latencies.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p50(window: &Window) -> Option<f64> {
        window.percentiles().map(|it| it.p50)
    }

    #[test]
    fn the_window_forgets_what_is_older_than_a_minute() {
        let mut window = Window::new();
        window.answered(0, Duration::from_millis(10));
        for second in 1..=30 {
            window.answered(second, Duration::from_millis(100));
            window.answered(second, Duration::from_millis(100));
        }
        assert_eq!((window.latencies.len(), window.answered), (61, 61));
        // Two digits of 100 ms.
        assert!(p50(&window).is_some_and(|it| (100.0..101.0).contains(&it)));
        window.forget(59);
        assert_eq!(window.latencies.len(), 61);
        window.forget(60);
        assert_eq!(window.latencies.len(), 60);
        // A second of the ring that is used again, without a report in between.
        window.answered(61, Duration::from_millis(1));
        assert_eq!(window.latencies.len(), 59);
        window.forget(1_000);
        assert_eq!((window.latencies.len(), p50(&window)), (0, None));
        window.answered(1_001, Duration::from_secs(1_000));
        assert!(p50(&window).is_some_and(|it| it >= 300_000.0));
        assert_eq!(window.answered, 63);
    }

    #[test]
    fn percentiles_have_two_digits() {
        let mut window = Window::new();
        for milliseconds in 1..=1_000 {
            window.answered(7, Duration::from_millis(milliseconds));
        }
        let found = window.percentiles().unwrap();
        for (found, exact) in [(found.p50, 500.0), (found.p95, 950.0), (found.p99, 990.0)] {
            let error: f64 = (found - exact) / exact;
            assert!(error.abs() < 0.01, "{found} for {exact}");
        }
    }

    #[test]
    fn a_report_counts_what_is_in_flight_and_what_failed() {
        let traffic = Traffic::new();
        for _ in 0..3 {
            traffic.begin();
        }
        traffic.end();
        traffic.answered(Duration::from_millis(20));
        traffic.failed();
        let report = serde_json::to_value(traffic.report()).unwrap();
        assert_eq!(report["inFlight"], 2);
        assert_eq!(
            (&report["answered"], &report["failed"]),
            (&1.into(), &1.into())
        );
        assert_eq!(report["perSecond"], 1.0);
        assert_eq!(report["latencyMs"]["p99"], 20.0);
    }
}
