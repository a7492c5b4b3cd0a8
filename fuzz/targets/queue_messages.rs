//! Messages on the queues: what is understood can be written again, and means the same.

#![no_main]

use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use proto::v1::{RecognitionJob, RecognitionResult};
use proto::{FileName, JobId, decode, encode};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(job) = decode::<RecognitionJob>(text) {
        let encoded = encode(&job);
        let again: RecognitionJob = decode(&encoded).expect("what was encoded is understood");
        assert_eq!(encoded, encode(&again));
        // What a worker reads of it.
        let _ = job.job_id.parse::<JobId>();
        let _ = FileName::parse(&job.object_key);
        let _ = job.deadline.map(SystemTime::try_from);
    }
    if let Ok(result) = decode::<RecognitionResult>(text) {
        let encoded = encode(&result);
        let again: RecognitionResult = decode(&encoded).expect("what was encoded is understood");
        assert_eq!(encoded, encode(&again));
    }
});
