//! All metrics of the worker: name, unit and meaning.

use metrics::{Unit, describe_counter, describe_histogram};

pub const JOBS: &str = "muster_worker_jobs_total";
pub const JOB_SECONDS: &str = "muster_worker_job_seconds";
pub const STORE_RETRIES: &str = "muster_worker_store_retries_total";

/// Registers units and meanings with the recorder.
pub fn describe() {
    describe_counter!(
        JOBS,
        Unit::Count,
        "Messages by outcome: recognised, failed, rejected or abandoned"
    );
    describe_histogram!(
        JOB_SECONDS,
        Unit::Seconds,
        "Time from receiving a message to settling it"
    );
    describe_counter!(
        STORE_RETRIES,
        Unit::Count,
        "Calls to the object store that were tried again"
    );
}
