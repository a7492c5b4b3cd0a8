//! The load: when requests are sent, what they send, and how each one ends for its client.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use reqwest::multipart::{Form, Part};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::light;
use crate::stack::http_client;

/// Longer than the service lets a request wait.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(150);
/// Most requests at once, for the memory of this program.
const MOST_AT_ONCE: usize = 2_000;

/// What is sent.
#[derive(Debug, Clone)]
pub enum Photos {
    /// Another photo for each request, for the light recognizer.
    Light { seed: u64 },
    /// Photos with the names that the recognizer gives them, in turn.
    Real(Arc<[(Bytes, String)]>),
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    pub number: u64,
    /// Milliseconds since the begin.
    pub at_ms: u64,
    pub took_ms: u64,
    pub outcome: Outcome,
}

/// How a request ended for its client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    Right,
    Wrong {
        answer: String,
    },
    /// The service said so. `id` is empty where it gave none.
    Error {
        status: u16,
        code: String,
        id: String,
    },
    /// The connection could not be made, or ended before the response.
    Cut,
    /// No response within the client's timeout.
    Unanswered,
}

impl Photos {
    /// Returns the photo of a request and the name that it must get.
    #[must_use]
    pub fn of(&self, number: u64) -> (Bytes, String) {
        match self {
            Self::Light { seed } => {
                let photo = light::photo(*seed, number);
                let name = light::name_of(&photo);
                (photo.into(), name)
            }
            Self::Real(photos) => {
                let index = usize::try_from(number).unwrap_or_default() % photos.len();
                photos[index].clone()
            }
        }
    }
}

/// Returns the stem of a request's file name.
#[must_use]
pub fn stem(number: u64) -> String {
    format!("r{number:07}")
}

/// Returns the number of the request with this stem.
#[must_use]
pub fn number_of(stem: &str) -> Option<u64> {
    stem.strip_prefix('r')?.parse().ok()
}

/// Returns the times of the requests in milliseconds: at random, `rate` a second on average, in periods of seconds between none
/// and twice as many, so that the fleet grows and shrinks.
#[must_use]
pub fn arrivals(seed: u64, requests: u64, rate: f64) -> Vec<u64> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x5bd1_e995);
    let (mut times, mut begin) = (Vec::new(), 0.0);
    while (times.len() as u64) < requests {
        let (factor, seconds): (f64, f64) = match random.random_range(0..6) {
            0 => (0.0, random.random_range(1.0..4.0)),
            1 => (0.5, random.random_range(2.0..8.0)),
            2 => (1.0, random.random_range(2.0..8.0)),
            3 => (1.25, random.random_range(2.0..8.0)),
            4 => (1.5, random.random_range(2.0..8.0)),
            _ => (2.0, random.random_range(1.0..4.0)),
        };
        let (end, mut at) = (begin + seconds, begin);
        while factor > 0.0 && (times.len() as u64) < requests {
            at += -(1.0 - random.random::<f64>()).ln() / (rate * factor);
            if at >= end {
                break;
            }
            times.push((at * 1e3) as u64);
        }
        begin = end;
    }
    times
}

/// Sends all requests at their times, whether earlier ones were answered or not, and waits for all ends.
pub async fn send(
    url: &str,
    key: &str,
    photos: &Photos,
    times: &[u64],
    begun: Instant,
) -> anyhow::Result<Vec<Sent>> {
    let client = http_client();
    let client = Client {
        client,
        url: url.to_owned(),
        key: key.to_owned(),
        photos: photos.clone(),
    };
    let (client, slots) = (Arc::new(client), Arc::new(Semaphore::new(MOST_AT_ONCE)));
    let all = Arc::new(Mutex::new(Vec::with_capacity(times.len())));
    for (number, at_ms) in (0..).zip(times) {
        tokio::time::sleep_until(begun + Duration::from_millis(*at_ms)).await;
        let slot = Arc::clone(&slots).acquire_owned().await?;
        let (client, all) = (Arc::clone(&client), Arc::clone(&all));
        tokio::spawn(async move {
            let sent_at = Instant::now();
            let outcome = client.post(number).await;
            let sent = Sent {
                number,
                at_ms: milliseconds(sent_at - begun),
                took_ms: milliseconds(sent_at.elapsed()),
                outcome,
            };
            all.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(sent);
            drop(slot);
        });
    }
    let _ = slots.acquire_many(MOST_AT_ONCE as u32).await?;
    let mut all = std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner));
    all.sort_by_key(|sent| sent.number);
    Ok(all)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Posts photos.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    url: String,
    key: String,
    photos: Photos,
}

/// A response of the gateway in JSON, with a result or with an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Answer {
    pub stem: String,
    pub name: String,
    pub error: ErrorDetails,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ErrorDetails {
    pub code: String,
    pub request_id: String,
}

impl Client {
    async fn post(&self, number: u64) -> Outcome {
        let (photo, name) = self.photos.of(number);
        let part = Part::stream(photo).file_name(format!("{}.png", stem(number)));
        let request = self
            .client
            .post(&self.url)
            .header("accept", "application/json")
            .bearer_auth(&self.key)
            .timeout(CLIENT_TIMEOUT)
            .multipart(Form::new().part("inputFile", part));
        let exchange = async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            Ok::<_, reqwest::Error>((status, response.bytes().await?))
        };
        let (status, body) = match exchange.await {
            Ok(answered) => answered,
            Err(error) if error.is_timeout() => return Outcome::Unanswered,
            Err(_) => return Outcome::Cut,
        };
        let answer: Answer = serde_json::from_slice(&body).unwrap_or_default();
        if status != 200 {
            let ErrorDetails { code, request_id } = answer.error;
            return Outcome::Error {
                status,
                code,
                id: request_id,
            };
        }
        if answer.stem == stem(number) && answer.name == name {
            Outcome::Right
        } else {
            Outcome::Wrong {
                answer: format!("{}:{}", answer.stem, answer.name),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_have_the_rate_on_average_and_one_schedule_a_seed() {
        let times = arrivals(3, 100_000, 200.0);
        assert_eq!(times, arrivals(3, 100_000, 200.0));
        assert!(times.is_sorted());
        let rate = 100_000.0 / (times[99_999] as f64 / 1e3);
        assert!((180.0..240.0).contains(&rate), "{rate}");
    }

    #[test]
    fn a_stem_has_its_number() {
        for number in [0, 7, 1_234_567, 99_999_999] {
            assert_eq!(number_of(&stem(number)), Some(number));
        }
        assert_eq!(number_of("other"), None);
    }

    #[test]
    fn each_light_photo_has_its_own_name_and_is_a_png() {
        let photos = Photos::Light { seed: 1 };
        let (first, name) = photos.of(1);
        let (second, other) = photos.of(2);
        assert_ne!((&first, &name), (&second, &other));
        assert_eq!(photos.of(1), (first.clone(), name));
        let limits = photo::DecodeLimits::default();
        let decoded = photo::decode(&first, &limits);
        assert!(decoded.is_ok(), "{:?}", decoded.err());
    }
}
