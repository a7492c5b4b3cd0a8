//! All metrics of the worker.

platform::metric_table! {
    JOBS:          Counter   "muster_worker_jobs_total" [outcome] Count,  "Messages by outcome: recognized, frame (a clip's), failed, rejected or abandoned";
    FRAMES:        Counter   "muster_worker_frames_total" Count,           "Frames of clips whose faces were stored";
    FRAME_FACES:   Counter   "muster_worker_frame_faces_total" Count,      "Faces on these frames";
    JOB_SECONDS:   Histogram "muster_worker_job_seconds" Seconds,         "Time from receiving a message to settling it";
    STORE_RETRIES: Counter   "muster_worker_store_retries_total" Count,   "Calls to the object store that were tried again";
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_lists_every_metric() {
        let rows = platform::metric::markdown(super::TABLE);
        testkit::assert_generated("docs/watching.md", "worker", &rows);
    }
}
