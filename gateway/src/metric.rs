//! All metrics of gateway and front: name, unit and meaning together.

use metrics::{Counter, Gauge, Histogram, Unit};

/// A metric; labels are added where it is recorded.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    unit: Unit,
    meaning: &'static str,
}

const fn metric(name: &'static str, unit: Unit, meaning: &'static str) -> Metric {
    Metric {
        name,
        unit,
        meaning,
    }
}

pub const HTTP_REQUESTS: Metric = metric(
    "muster_gateway_requests_total",
    Unit::Count,
    "Answers to POST /, by label outcome: ok or an error code",
);
pub const HTTP_SECONDS: Metric = metric(
    "muster_gateway_request_seconds",
    Unit::Seconds,
    "Time from the head of a request to its answer, upload included",
);
pub const HTTP_IN_FLIGHT: Metric = metric(
    "muster_gateway_in_flight",
    Unit::Count,
    "Requests being read or answered",
);
pub const HTTP_PHOTO_BYTES: Metric = metric(
    "muster_gateway_photo_bytes_total",
    Unit::Bytes,
    "Bytes of photos received",
);

pub const FRONT_REQUESTS: Metric = metric(
    "muster_front_requests_total",
    Unit::Count,
    "Recognize calls, by label outcome: ok or an error code",
);
pub const FRONT_SECONDS: Metric = metric(
    "muster_front_recognize_seconds",
    Unit::Seconds,
    "Time from a Recognize call's acceptance to its answer",
);
pub const FRONT_IN_FLIGHT: Metric = metric(
    "muster_front_in_flight",
    Unit::Count,
    "Requests accepted and not yet answered",
);
pub const FRONT_PHOTO_BYTES: Metric = metric(
    "muster_front_photo_bytes_total",
    Unit::Bytes,
    "Bytes of photos accepted",
);
pub const LATE_REPLIES: Metric = metric(
    "muster_front_late_replies_total",
    Unit::Count,
    "Replies dropped because nobody waits for them: late ones and duplicates",
);
pub const UNDECODABLE_REPLIES: Metric = metric(
    "muster_front_undecodable_replies_total",
    Unit::Count,
    "Messages on the reply queue that are no replies; deleted",
);
pub const DEAD_LETTERS: Metric = metric(
    "muster_front_dead_letters_total",
    Unit::Count,
    "Requests answered with an error because their job is in the dead-letter queue",
);
pub const PHOTOS_DELETED: Metric = metric(
    "muster_front_photos_deleted_total",
    Unit::Count,
    "Photos deleted again because a worker found them to be bad input",
);

const COUNTERS: [Metric; 8] = [
    HTTP_REQUESTS,
    HTTP_PHOTO_BYTES,
    FRONT_REQUESTS,
    FRONT_PHOTO_BYTES,
    LATE_REPLIES,
    UNDECODABLE_REPLIES,
    DEAD_LETTERS,
    PHOTOS_DELETED,
];
const GAUGES: [Metric; 2] = [HTTP_IN_FLIGHT, FRONT_IN_FLIGHT];
const HISTOGRAMS: [Metric; 2] = [HTTP_SECONDS, FRONT_SECONDS];

/// Tells the recorder units and meanings. Call it after `platform::telemetry::init`.
pub fn describe() {
    for Metric {
        name,
        unit,
        meaning,
    } in COUNTERS
    {
        metrics::describe_counter!(name, unit, meaning);
    }
    for Metric {
        name,
        unit,
        meaning,
    } in GAUGES
    {
        metrics::describe_gauge!(name, unit, meaning);
    }
    for Metric {
        name,
        unit,
        meaning,
    } in HISTOGRAMS
    {
        metrics::describe_histogram!(name, unit, meaning);
    }
}

impl Metric {
    pub fn counter(self) -> Counter {
        metrics::counter!(self.name)
    }

    pub fn outcome(self, outcome: &'static str) -> Counter {
        metrics::counter!(self.name, "outcome" => outcome)
    }

    pub fn gauge(self) -> Gauge {
        metrics::gauge!(self.name)
    }

    pub fn histogram(self) -> Histogram {
        metrics::histogram!(self.name)
    }
}
