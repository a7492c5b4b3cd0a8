//! Sends the requests of a schedule and judges their responses.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, SendError};
use crate::report::{Outcome, Record};
use crate::schedule::{Attempt, Schedule, Step};
use crate::truth::{parse_response, stem};

/// One request: a photo, its file name, and the name of the person on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    pub file_name: String,
    pub image: Bytes,
    pub name: String,
    /// The kind of photo, for the accuracy by kind. Empty: none.
    pub kind: String,
}

/// What a response is worth, in more detail than an [`Outcome`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseClass {
    /// The right name.
    Right,
    /// Another name.
    Wrong,
    /// The service answers that it does not know the face.
    Unknown,
    /// The service answers that it cannot use the photo, for instance because it finds no face.
    Refused,
    /// No answer about the photo.
    Failed,
}

/// The name of a face that is not in the gallery.
const UNKNOWN: &str = "Unknown";

/// Sends requests in a closed loop.
#[derive(Debug, Clone)]
pub struct Driver {
    pub client: Client,
    /// Requests in flight at once, at least 1.
    pub concurrency: usize,
    /// Retries of a request whose connection fails.
    pub retries: u32,
    /// Whether a response must also have the photo's file name. Existing clients compare only the person's name.
    pub check_file: bool,
}

impl Driver {
    /// Sends all requests, and calls `on_end` as each ends. Returns the records in that order, with times since `start`.
    pub async fn run(
        &self,
        requests: &[Request],
        start: Instant,
        mut on_end: impl FnMut(&Record),
    ) -> Vec<Record> {
        let mut records = Vec::with_capacity(requests.len());
        let on_end = |record: Record, _: &Request, _: ResponseClass| {
            on_end(&record);
            records.push(record);
        };
        let never = CancellationToken::new();
        self.run_classified(requests, requests.len(), &never, start, on_end)
            .await;
        records
    }

    /// Sends `count` requests, which are `requests` in turn, or fewer if `stop` is cancelled: then what is in flight is
    /// waited for. Calls `on_end` with each record, its request and class. Times are since `start`.
    pub async fn run_classified(
        &self,
        requests: &[Request],
        count: usize,
        stop: &CancellationToken,
        start: Instant,
        mut on_end: impl FnMut(Record, &Request, ResponseClass),
    ) {
        let mut schedule = Schedule::new(count, self.concurrency, self.retries);
        // Of requests that have not ended.
        let mut first_sent = HashMap::new();
        let mut in_flight = FuturesUnordered::new();
        loop {
            if stop.is_cancelled() {
                schedule.stop();
            }
            match schedule.next(start.elapsed()) {
                Step::Finished => return,
                Step::Send(attempt) => {
                    let request = &requests[attempt.request % requests.len()];
                    first_sent
                        .entry(attempt.request)
                        .or_insert_with(|| start.elapsed());
                    in_flight.push(self.send(attempt, request));
                }
                Step::Wait { until } => {
                    let ended = tokio::select! {
                        Some(ended) = in_flight.next() => ended,
                        () = until_then(start, until) => continue,
                        () = stop.cancelled(), if !stop.is_cancelled() => continue,
                    };
                    let (attempt, answer) = ended;
                    if matches!(answer, Err(SendError::Connection(_))) {
                        if schedule.failed(attempt, start.elapsed()) {
                            continue;
                        }
                    } else {
                        schedule.done();
                    }
                    let request = &requests[attempt.request % requests.len()];
                    let (outcome, class) = judge(request, answer, self.check_file);
                    let record = Record {
                        file_name: request.file_name.clone(),
                        sent_at: first_sent.remove(&attempt.request).unwrap_or_default(),
                        ended_at: start.elapsed(),
                        retries: attempt.retries,
                        outcome,
                    };
                    on_end(record, request, class);
                }
            }
        }
    }

    async fn send(
        &self,
        attempt: Attempt,
        request: &Request,
    ) -> (Attempt, Result<String, SendError>) {
        let photo = self.client.encode(&request.file_name, &request.image);
        (attempt, self.client.send(photo).await)
    }
}

async fn until_then(start: Instant, until: Option<Duration>) {
    match until {
        Some(until) => tokio::time::sleep_until(start + until).await,
        None => std::future::pending().await,
    }
}

/// With `check_file`, a right name in the response to another photo is wrong.
pub fn judge(
    request: &Request,
    answer: Result<String, SendError>,
    check_file: bool,
) -> (Outcome, ResponseClass) {
    let wrong = |why: String| (Outcome::Wrong(why), ResponseClass::Wrong);
    let text = match answer {
        Ok(text) => text,
        Err(error) => {
            let class = match error.is_refused_photo() {
                true => ResponseClass::Refused,
                false => ResponseClass::Failed,
            };
            return (Outcome::Failed(error.to_string()), class);
        }
    };
    let Some((answered_stem, name)) = parse_response(&text) else {
        let shown = shortened(&text);
        return wrong(format!("the response is not <file>:<name> but {shown:?}"));
    };
    if check_file && answered_stem != stem(&request.file_name) {
        let shown = shortened(answered_stem);
        return wrong(format!("the response is for {shown:?}"));
    }
    if name == request.name {
        return (Outcome::Correct, ResponseClass::Right);
    }
    let (outcome, class) = wrong(format!(
        "expected {}, got {}",
        request.name,
        shortened(name)
    ));
    (
        outcome,
        if name == UNKNOWN {
            ResponseClass::Unknown
        } else {
            class
        },
    )
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_right_for_its_own_photo() {
        let request = Request {
            file_name: "test_07.jpg".into(),
            image: Bytes::new(),
            name: "Ben".into(),
            ..Request::default()
        };
        let judged = |text: &str| judge(&request, Ok(text.to_owned()), true).0;
        assert_eq!(judged("test_07:Ben\n"), Outcome::Correct);
        assert_eq!(
            judged("test_07:Elton"),
            Outcome::Wrong("expected Ben, got Elton".into())
        );
        assert_eq!(
            judged("test_08:Ben"),
            Outcome::Wrong("the response is for \"test_08\"".into())
        );
        assert_eq!(
            judge(&request, Ok("test_08:Ben".to_owned()), false),
            (Outcome::Correct, ResponseClass::Right)
        );
        assert_eq!(
            judged("oops"),
            Outcome::Wrong("the response is not <file>:<name> but \"oops\"".into())
        );
    }

    #[test]
    fn a_refused_photo_and_an_unknown_face_are_not_failures_of_the_service() {
        let request = Request {
            name: "Ben".into(),
            ..Request::default()
        };
        let class = |answer| judge(&request, answer, false).1;
        let status = |status| {
            class(Err(SendError::Status {
                status,
                message: String::new(),
            }))
        };
        assert_eq!(class(Ok("a:Unknown".into())), ResponseClass::Unknown);
        assert_eq!(class(Ok("a:Elton".into())), ResponseClass::Wrong);
        assert_eq!(status(422), ResponseClass::Refused);
        assert_eq!(status(429), ResponseClass::Failed);
        assert_eq!(status(503), ResponseClass::Failed);
        assert_eq!(class(Err(SendError::Timeout)), ResponseClass::Failed);
    }
}
