//! Sends the requests of a schedule and judges their responses.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::client::{Client, SendError};
use crate::report::{Outcome, Record};
use crate::schedule::{Attempt, Schedule, Step};
use crate::truth::{parse_response, stem};

/// One request: a photo, its file name, and the name of the person on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub file_name: String,
    pub image: Bytes,
    pub name: String,
}

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
        let mut schedule = Schedule::new(requests.len(), self.concurrency, self.retries);
        let mut first_sent = vec![None; requests.len()];
        let mut in_flight = FuturesUnordered::new();
        let mut records = Vec::with_capacity(requests.len());
        loop {
            match schedule.next(start.elapsed()) {
                Step::Finished => return records,
                Step::Send(attempt) => {
                    first_sent[attempt.request].get_or_insert_with(|| start.elapsed());
                    in_flight.push(self.send(attempt, &requests[attempt.request]));
                }
                Step::Wait { until } => {
                    let ended = tokio::select! {
                        Some(ended) = in_flight.next() => ended,
                        () = until_then(start, until) => continue,
                    };
                    let (attempt, answer) = ended;
                    if matches!(answer, Err(SendError::Connection(_))) {
                        if schedule.failed(attempt, start.elapsed()) {
                            continue;
                        }
                    } else {
                        schedule.done();
                    }
                    let request = &requests[attempt.request];
                    let record = Record {
                        file_name: request.file_name.clone(),
                        sent_at: first_sent[attempt.request].unwrap_or_default(),
                        ended_at: start.elapsed(),
                        retries: attempt.retries,
                        outcome: judge(request, answer, self.check_file),
                    };
                    on_end(&record);
                    records.push(record);
                }
            }
        }
    }

    async fn send(
        &self,
        attempt: Attempt,
        request: &Request,
    ) -> (Attempt, Result<String, SendError>) {
        (
            attempt,
            self.client
                .send(&request.file_name, request.image.clone())
                .await,
        )
    }
}

async fn until_then(start: Instant, until: Option<Duration>) {
    match until {
        Some(until) => tokio::time::sleep_until(start + until).await,
        None => std::future::pending().await,
    }
}

/// With `check_file`, a right name in the response to another photo is wrong.
fn judge(request: &Request, answer: Result<String, SendError>, check_file: bool) -> Outcome {
    let text = match answer {
        Ok(text) => text,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let Some((answered_stem, name)) = parse_response(&text) else {
        return Outcome::Wrong(format!(
            "the response is not <file>:<name> but {:?}",
            shortened(&text)
        ));
    };
    if check_file && answered_stem != stem(&request.file_name) {
        return Outcome::Wrong(format!(
            "the response is for {:?}",
            shortened(answered_stem)
        ));
    }
    if name != request.name {
        return Outcome::Wrong(format!(
            "expected {}, got {}",
            request.name,
            shortened(name)
        ));
    }
    Outcome::Correct
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
        };
        let judged = |text: &str| judge(&request, Ok(text.to_owned()), true);
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
            Outcome::Correct
        );
        assert_eq!(
            judged("oops"),
            Outcome::Wrong("the response is not <file>:<name> but \"oops\"".into())
        );
    }
}
