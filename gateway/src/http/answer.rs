use axum::Json;
use axum::http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use proto::JobId;
use proto::v1::{RecognizeResponse, Timings};
use serde::Serialize;

use crate::error::{ErrorCode, RequestError};

/// The header that carries a request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How the client wants its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerForm {
    Text,
    Json,
}

#[derive(Debug, Serialize)]
struct Answer {
    request_id: String,
    stem: String,
    name: String,
    /// L2 distance to the nearest identity, 0 to 2.
    distance: f32,
    nearest_name: String,
    /// The detector's probability, 0 to 1.
    confidence: f32,
    #[serde(rename = "box")]
    bounding_box: Option<Box>,
    landmarks: Vec<Point>,
    model: String,
    timings: Milliseconds,
}

/// Pixels from the top left corner.
#[derive(Debug, Serialize)]
struct Box {
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
}

#[derive(Debug, Serialize)]
struct Point {
    x: f32,
    y: f32,
}

#[derive(Debug, Serialize)]
struct Milliseconds {
    fetch_ms: f32,
    decode_ms: f32,
    detect_ms: f32,
    embed_ms: f32,
    match_ms: f32,
    store_ms: f32,
    total_ms: f32,
}

#[derive(Debug, Serialize)]
struct Failed<'a> {
    error: ErrorBody<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorBody<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

impl AnswerForm {
    /// JSON if the client names it among what it accepts.
    pub fn wanted_by(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT);
        let mut ranges = accepted
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','));
        if ranges.any(is_json) {
            Self::Json
        } else {
            Self::Text
        }
    }

    pub fn recognized(self, response: RecognizeResponse) -> Response {
        let id = response.request_id.parse().ok();
        let answer = Answer::from(response);
        let answer = match self {
            Self::Text => text(format!("{}:{}", answer.stem, answer.name)),
            Self::Json => Json(answer).into_response(),
        };
        with_id(answer, id)
    }

    pub fn error(self, error: &RequestError, id: Option<JobId>) -> Response {
        let mut answer = match self {
            Self::Text => text(format!("{}\n", error.message)),
            Self::Json => {
                let request_id = id.map(|id| id.to_string());
                let code = error.code.name();
                let error = ErrorBody {
                    code,
                    message: &error.message,
                    request_id,
                };
                Json(Failed { error }).into_response()
            }
        };
        *answer.status_mut() = error.code.http_status();
        if error.code == ErrorCode::NoKey {
            let scheme = HeaderValue::from_static("Bearer");
            answer.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        if let Some(seconds) = error.retry_after_seconds() {
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        with_id(answer, id)
    }
}

impl From<RecognizeResponse> for Answer {
    fn from(response: RecognizeResponse) -> Self {
        let recognition = response.recognition.unwrap_or_default();
        let points = recognition.landmarks.iter();
        Self {
            request_id: response.request_id,
            stem: response.stem,
            name: recognition.name,
            distance: recognition.distance,
            nearest_name: recognition.nearest_name,
            confidence: recognition.confidence,
            bounding_box: recognition.r#box.map(|found| Box {
                left: found.left,
                top: found.top,
                right: found.right,
                bottom: found.bottom,
            }),
            landmarks: points
                .map(|point| Point {
                    x: point.x,
                    y: point.y,
                })
                .collect(),
            model: recognition.model,
            timings: response.timings.unwrap_or_default().into(),
        }
    }
}

impl From<Timings> for Milliseconds {
    fn from(timings: Timings) -> Self {
        Self {
            fetch_ms: timings.fetch_ms,
            decode_ms: timings.decode_ms,
            detect_ms: timings.detect_ms,
            embed_ms: timings.embed_ms,
            match_ms: timings.match_ms,
            store_ms: timings.store_ms,
            total_ms: timings.total_ms,
        }
    }
}

/// A media range such as `application/json;q=0.9`; quality zero means "not this".
fn is_json(range: &str) -> bool {
    let mut parts = range.split(';').map(str::trim);
    let named = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    let refused = parts.any(|parameter| {
        let quality = parameter
            .strip_prefix("q=")
            .and_then(|text| text.parse::<f32>().ok());
        quality == Some(0.0)
    });
    named && !refused
}

fn text(body: String) -> Response {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

fn with_id(mut answer: Response, id: Option<JobId>) -> Response {
    if let Some(id) = id {
        let value = HeaderValue::try_from(id.to_string()).expect("an id is hexadecimal");
        answer.headers_mut().insert(REQUEST_ID, value);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &'static str) -> AnswerForm {
        AnswerForm::wanted_by(&HeaderMap::from_iter([(
            ACCEPT,
            HeaderValue::from_static(accept),
        )]))
    }

    #[test]
    fn json_is_given_to_those_who_name_it() {
        assert_eq!(wanted("application/json"), AnswerForm::Json);
        assert_eq!(
            wanted("text/html, Application/JSON;q=0.9"),
            AnswerForm::Json
        );
        assert_eq!(wanted("*/*"), AnswerForm::Text);
        assert_eq!(wanted("text/plain, application/json;q=0"), AnswerForm::Text);
        assert_eq!(AnswerForm::wanted_by(&HeaderMap::new()), AnswerForm::Text);
    }
}
