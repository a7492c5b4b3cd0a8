use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::client::{Client, SendError};
use crate::report::{Outcome, Record};
use crate::schedule::{Attempt, Schedule, Step};
use crate::truth::{parse_answer, stem};

/// One request to make: a photo, under a file name, and who is on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub file_name: String,
    pub image: Bytes,
    pub name: String,
}

/// How the requests are sent.
#[derive(Debug, Clone)]
pub struct Driver {
    pub client: Client,
    /// How many requests are under way at once, at least 1.
    pub concurrency: usize,
    /// How often a request is sent again when its connection fails.
    pub retries: u32,
    /// Whether an answer must also name the photo that it is for. Existing clients compare the person's name only.
    pub check_file: bool,
}

impl Driver {
    /// Sends all requests in a closed loop and reports each to `on_end` as it ends. Records are in the order in which
    /// the requests ended; their times count from `start`.
    pub async fn run(
        &self,
        requests: &[Request],
        start: Instant,
        mut on_end: impl FnMut(&Record),
    ) -> Vec<Record> {
        let mut schedule = Schedule::new(requests.len(), self.concurrency, self.retries);
        let mut first_sent = vec![None; requests.len()];
        let mut under_way = FuturesUnordered::new();
        let mut records = Vec::with_capacity(requests.len());
        loop {
            match schedule.next(start.elapsed()) {
                Step::Finished => return records,
                Step::Send(attempt) => {
                    first_sent[attempt.request].get_or_insert_with(|| start.elapsed());
                    under_way.push(self.send(attempt, &requests[attempt.request]));
                }
                Step::Wait { until } => {
                    let ended = tokio::select! {
                        Some(ended) = under_way.next() => ended,
                        () = until_then(start, until) => continue,
                    };
                    let (attempt, answer) = ended;
                    if matches!(answer, Err(SendError::Connection(_))) {
                        if schedule.broken(attempt, start.elapsed()) {
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

/// With `check_file`, a name that is right by chance, on the answer to another photo, is wrong.
fn judge(request: &Request, answer: Result<String, SendError>, check_file: bool) -> Outcome {
    let text = match answer {
        Ok(text) => text,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let Some((answered_stem, name)) = parse_answer(&text) else {
        return Outcome::Wrong(format!(
            "the answer is not <file>:<name> but {:?}",
            shortened(&text)
        ));
    };
    if check_file && answered_stem != stem(&request.file_name) {
        return Outcome::Wrong(format!(
            "this is the answer for {:?}",
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
    fn an_answer_is_right_for_its_own_photo() {
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
            Outcome::Wrong("this is the answer for \"test_08\"".into())
        );
        assert_eq!(
            judge(&request, Ok("test_08:Ben".to_owned()), false),
            Outcome::Correct
        );
        assert_eq!(
            judged("oops"),
            Outcome::Wrong("the answer is not <file>:<name> but \"oops\"".into())
        );
    }
}
