//! All metrics of gateway and front.

platform::metric_table! {
    HTTP_REQUESTS:       Counter   "muster_gateway_requests_total" [outcome] Count,       "Requests of POST /, by label outcome: ok, an error code, or gone when the client left before its answer";
    HTTP_SECONDS:        Histogram "muster_gateway_request_seconds" Seconds,              "Time from the head of a request to its response, upload included";
    HTTP_IN_FLIGHT:      Gauge     "muster_gateway_in_flight" Count,                      "Requests being read or answered";
    HTTP_PHOTO_BYTES:    Counter   "muster_gateway_photo_bytes_total" Bytes,              "Bytes of photos received";
    HTTP_VIDEOS:         Counter   "muster_gateway_videos_total" [outcome] Count,         "Responses to POST /v1/videos, by label outcome: ok or an error code";
    FRONT_REQUESTS:      Counter   "muster_front_requests_total" [outcome] Count,         "Recognize calls, by label outcome: ok or an error code";
    FRONT_SECONDS:       Histogram "muster_front_recognize_seconds" Seconds,              "Time from a Recognize call's acceptance to its response";
    FRONT_IN_FLIGHT:     Gauge     "muster_front_in_flight" Count,                        "Requests accepted and not yet answered";
    FRONT_PHOTO_BYTES:   Counter   "muster_front_photo_bytes_total" Bytes,                "Bytes of photos accepted";
    VIDEOS:              Counter   "muster_front_videos_total" [outcome] Count,           "Clips by label outcome: accepted, done, failed, taken_over, or the error code of a refusal";
    FRAMES:              Counter   "muster_front_frames_total" [outcome] Count,           "Frames of clips by label outcome: done, failed, or retried";
    WAITING_FRAMES:      Gauge     "muster_front_waiting_frames" Count,                   "Frames of clips that are not done";
    FRAME_SECONDS:       Histogram "muster_front_frame_seconds" Seconds,                  "Time from sending a frame of a clip to its reply";
    LATE_REPLIES:        Counter   "muster_front_late_replies_total" Count,               "Replies that no request waits for: late ones and duplicates";
    KEPT_RESULTS:        Counter   "muster_front_kept_results_total" Count,               "Results kept in the out-bucket because their caller was gone, for GET /v1/results/<request id>";
    UNDECODABLE_REPLIES: Counter   "muster_front_undecodable_replies_total" Count,        "Undecodable messages on the reply queue; deleted";
    DEAD_LETTERS:        Counter   "muster_front_dead_letters_total" Count,               "Requests that failed because their job is in the dead-letter queue";
    PHOTOS_DELETED:      Counter   "muster_front_photos_deleted_total" Count,             "Photos deleted because a worker found them bad";
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_lists_every_metric() {
        let rows = platform::metric::markdown(super::TABLE);
        testkit::assert_generated("docs/watching.md", "gateway and front", &rows);
    }
}
