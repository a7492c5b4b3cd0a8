//! All metrics of gateway and front.

use metrics::{Counter, Gauge, Histogram, Unit};

/// A metric. Labels are added where it is recorded.
#[derive(Debug, Clone, Copy)]
pub struct Metric(&'static str);

/// Defines the metrics, and `describe` for all of them: kind, constant, name, unit, meaning.
macro_rules! metrics {
    ($($describe:ident $constant:ident $name:literal $unit:ident $meaning:literal;)*) => {
        $(pub const $constant: Metric = Metric($name);)*

        /// Registers units and meanings. Call it after `platform::telemetry::init`.
        pub fn describe() {
            $(metrics::$describe!($name, Unit::$unit, $meaning);)*
        }
    };
}

metrics! {
    describe_counter   HTTP_REQUESTS       "muster_gateway_requests_total"          Count   "Responses to POST /, by label outcome: ok or an error code";
    describe_histogram HTTP_SECONDS        "muster_gateway_request_seconds"         Seconds "Time from the head of a request to its response, upload included";
    describe_gauge     HTTP_IN_FLIGHT      "muster_gateway_in_flight"               Count   "Requests being read or answered";
    describe_counter   HTTP_PHOTO_BYTES    "muster_gateway_photo_bytes_total"       Bytes   "Bytes of photos received";
    describe_counter   FRONT_REQUESTS      "muster_front_requests_total"            Count   "Recognize calls, by label outcome: ok or an error code";
    describe_histogram FRONT_SECONDS       "muster_front_recognize_seconds"         Seconds "Time from a Recognize call's acceptance to its response";
    describe_gauge     FRONT_IN_FLIGHT     "muster_front_in_flight"                 Count   "Requests accepted and not yet answered";
    describe_counter   FRONT_PHOTO_BYTES   "muster_front_photo_bytes_total"         Bytes   "Bytes of photos accepted";
    describe_counter   LATE_REPLIES        "muster_front_late_replies_total"        Count   "Replies dropped because no request waits for them: late ones and duplicates";
    describe_counter   UNDECODABLE_REPLIES "muster_front_undecodable_replies_total" Count   "Undecodable messages on the reply queue; deleted";
    describe_counter   DEAD_LETTERS        "muster_front_dead_letters_total"        Count   "Requests that failed because their job is in the dead-letter queue";
    describe_counter   PHOTOS_DELETED      "muster_front_photos_deleted_total"      Count   "Photos deleted because a worker found them bad";
}

impl Metric {
    pub fn counter(self) -> Counter {
        metrics::counter!(self.0)
    }

    pub fn outcome(self, outcome: &'static str) -> Counter {
        metrics::counter!(self.0, "outcome" => outcome)
    }

    pub fn gauge(self) -> Gauge {
        metrics::gauge!(self.0)
    }

    pub fn histogram(self) -> Histogram {
        metrics::histogram!(self.0)
    }
}
