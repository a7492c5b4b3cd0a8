//! The account: each request's end for its client, beside what the cloud holds of it. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::load::{Outcome, Sent};

/// What the cloud holds of the requests after the run, by their numbers.
#[derive(Debug, Clone, Default)]
pub struct CloudContents {
    /// Requests whose photo is in the in-bucket.
    pub photos: BTreeSet<u64>,
    /// Names of each request's results in the out-bucket: one, if all is well.
    pub results: HashMap<u64, Vec<String>>,
    pub dead_letters: BTreeSet<u64>,
    /// Ids of the jobs that a worker began.
    pub begun: HashSet<String>,
    /// Names that `GET /v1/results/<id>` gave for requests that ended with an error.
    pub recovered: HashMap<u64, String>,
}

/// An interval of the run, in milliseconds since its begin.
pub type Interval = (u64, u64);

/// How the requests ended. Each is counted once among `right`, `errors`, `lost`, `wrong`, `twice` and `dead_lettered`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub requests: u64,
    pub right: u64,
    /// The client got an error, or its connection ended.
    pub errors: u64,
    /// No answer, or a job without any end.
    pub lost: u64,
    /// Another answer than the photo's own, to the client or in the out-bucket.
    pub wrong: u64,
    /// Two results.
    pub twice: u64,
    pub dead_lettered: u64,
    /// Of `errors`: with a result in the out-bucket nevertheless.
    pub errors_with_result: u64,
    /// Of `errors`: whose result `GET /v1/results/<id>` had.
    pub errors_recovered: u64,
    pub errors_by_code: BTreeMap<String, u64>,
    /// What is wrong, in words: each request that is lost, wrong or twice, and times that are too long.
    pub findings: Vec<String>,
}

impl Account {
    /// Returns whether nothing is lost, wrong or twice.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.wrong == 0 && self.twice == 0
    }
}

/// Accounts for all requests.
///
/// A client that got an error from a service, or whose connection ended while front, gateway or the local cloud was down
/// (`downtimes`), may have a photo that never became a job: it was told so. Any other stored photo must have a result, be a dead
/// letter, or have been answered.
#[must_use]
pub fn account(
    sent: &[Sent],
    name_of: impl Fn(u64) -> String,
    contents: &CloudContents,
    downtimes: &[Interval],
) -> Account {
    let mut account = Account {
        requests: sent.len() as u64,
        ..Account::default()
    };
    for request in sent {
        let name = name_of(request.number);
        let end = end_of(request, &name, contents, downtimes);
        let counter = match end {
            End::Right => &mut account.right,
            End::Error => &mut account.errors,
            End::Lost => &mut account.lost,
            End::Wrong => &mut account.wrong,
            End::Twice => &mut account.twice,
            End::DeadLetter => &mut account.dead_lettered,
        };
        *counter += 1;
        if end == End::Error {
            let code = match &request.outcome {
                Outcome::Error { code, .. } => code.as_str(),
                _ => "cut",
            };
            *account.errors_by_code.entry(code.to_owned()).or_default() += 1;
            let has_result = contents.results.contains_key(&request.number);
            account.errors_with_result += u64::from(has_result);
            account.errors_recovered += u64::from(contents.recovered.contains_key(&request.number));
        }
        if matches!(end, End::Lost | End::Wrong | End::Twice) {
            let results = contents.results.get(&request.number);
            account.findings.push(format!(
                "{end:?}: {request:?}, results {results:?}, expected {name}"
            ));
        }
    }
    account
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Right,
    Error,
    Lost,
    Wrong,
    Twice,
    DeadLetter,
}

fn end_of(request: &Sent, name: &str, contents: &CloudContents, downtimes: &[Interval]) -> End {
    let number = request.number;
    let none = Vec::new();
    let results = contents.results.get(&number).unwrap_or(&none);
    let recovered = contents.recovered.get(&number);
    if results.iter().chain(recovered).any(|result| result != name) {
        return End::Wrong;
    }
    if results.len() > 1 {
        return End::Twice;
    }
    let is_stored_in_vain = contents.photos.contains(&number) && results.is_empty();
    match &request.outcome {
        Outcome::Wrong { .. } => End::Wrong,
        // A worker stores the result before it replies.
        Outcome::Right if results.is_empty() => End::Lost,
        Outcome::Right => End::Right,
        Outcome::Unanswered => End::Lost,
        Outcome::Error { .. } | Outcome::Cut if contents.dead_letters.contains(&number) => {
            End::DeadLetter
        }
        Outcome::Error { code, .. } if code == "deadline_exceeded" && is_stored_in_vain => {
            End::Lost
        }
        Outcome::Error { id, .. } if is_stored_in_vain && contents.begun.contains(id) => End::Lost,
        Outcome::Cut if is_stored_in_vain && !was_down(request, downtimes) => End::Lost,
        Outcome::Error { .. } | Outcome::Cut => End::Error,
    }
}

fn was_down(request: &Sent, downtimes: &[Interval]) -> bool {
    let (begin, end) = (request.at_ms, request.at_ms + request.took_ms);
    downtimes
        .iter()
        .any(|&(from, until)| from <= end && begin <= until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(outcome: Outcome) -> Sent {
        Sent {
            number: 1,
            at_ms: 1_000,
            took_ms: 500,
            outcome,
        }
    }

    fn error(code: &str) -> Outcome {
        Outcome::Error {
            status: 503,
            code: code.to_owned(),
            id: String::new(),
        }
    }

    fn contents(results: &[&str], is_dead: bool) -> CloudContents {
        let results: Vec<_> = results.iter().map(|&name| name.to_owned()).collect();
        let found = (!results.is_empty()).then_some((1, results));
        CloudContents {
            photos: BTreeSet::from([1]),
            results: found.into_iter().collect(),
            dead_letters: is_dead.then_some(1).into_iter().collect(),
            begun: HashSet::new(),
            recovered: HashMap::new(),
        }
    }

    fn end(outcome: Outcome, contents: &CloudContents, downtimes: &[Interval]) -> End {
        end_of(&sent(outcome), "me", contents, downtimes)
    }

    #[test]
    fn each_end_is_told_from_the_others() {
        let (one, none, dead) = (
            contents(&["me"], false),
            contents(&[], false),
            contents(&[], true),
        );
        assert_eq!(end(Outcome::Right, &one, &[]), End::Right);
        assert_eq!(
            end(Outcome::Right, &none, &[]),
            End::Lost,
            "it was never stored"
        );
        let wrong = Outcome::Wrong {
            answer: "r1:you".to_owned(),
        };
        assert_eq!(end(wrong, &one, &[]), End::Wrong);
        assert_eq!(
            end(Outcome::Right, &contents(&["you"], false), &[]),
            End::Wrong
        );
        assert_eq!(
            end(Outcome::Right, &contents(&["me", "me"], false), &[]),
            End::Twice
        );
        assert_eq!(end(Outcome::Unanswered, &one, &[]), End::Lost);
        assert_eq!(end(error("internal"), &dead, &[]), End::DeadLetter);
        assert_eq!(end(error("unavailable"), &none, &[]), End::Error);
        assert_eq!(end(error("deadline_exceeded"), &none, &[]), End::Lost);
        assert_eq!(end(error("deadline_exceeded"), &one, &[]), End::Error);
    }

    #[test]
    fn a_cut_request_whose_photo_is_stored_is_lost_unless_a_service_was_down() {
        let none = contents(&[], false);
        assert_eq!(
            end(Outcome::Cut, &none, &[(0, 999), (1_501, 2_000)]),
            End::Lost
        );
        assert_eq!(end(Outcome::Cut, &none, &[(1_200, 1_300)]), End::Error);
        assert_eq!(
            end(Outcome::Cut, &contents(&["me"], false), &[]),
            End::Error
        );
        let never_stored = CloudContents::default();
        assert_eq!(end(Outcome::Cut, &never_stored, &[]), End::Error);
    }

    #[test]
    fn a_job_that_a_worker_began_has_an_end() {
        let mut none = contents(&[], false);
        let outcome = || Outcome::Error {
            status: 503,
            code: "unavailable".to_owned(),
            id: "a1".to_owned(),
        };
        assert_eq!(end(outcome(), &none, &[]), End::Error);
        none.begun.insert("a1".to_owned());
        assert_eq!(end(outcome(), &none, &[]), End::Lost);
    }

    #[test]
    fn a_recovered_answer_that_is_another_photos_is_wrong() {
        let mut found = contents(&["me"], false);
        found.recovered.insert(1, "you".to_owned());
        assert_eq!(end(error("unavailable"), &found, &[]), End::Wrong);
    }

    #[test]
    fn the_counts_add_up() {
        let outcomes = [
            Outcome::Right,
            error("unavailable"),
            Outcome::Cut,
            Outcome::Unanswered,
        ];
        let sent: Vec<_> = (0..)
            .zip(outcomes)
            .map(|(number, outcome)| Sent {
                number,
                ..sent(outcome)
            })
            .collect();
        let found = CloudContents {
            results: HashMap::from([(0, vec!["me".to_owned()]), (1, vec!["me".to_owned()])]),
            ..CloudContents::default()
        };
        let counted = account(&sent, |_| "me".to_owned(), &found, &[]);
        let expected = Account {
            requests: 4,
            right: 1,
            errors: 2,
            lost: 1,
            errors_with_result: 1,
            errors_by_code: BTreeMap::from([("unavailable".to_owned(), 1), ("cut".to_owned(), 1)]),
            findings: counted.findings.clone(),
            ..Account::default()
        };
        assert_eq!(counted, expected);
        assert_eq!(counted.findings.len(), 1);
        assert!(!counted.is_clean());
    }
}
