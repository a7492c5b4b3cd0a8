//! Responses to `POST /`, as text or JSON.

use axum::Json;
use axum::http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use proto::JobId;
use proto::v1::{Recognition, RecognizeResponse, Timings};
use serde::Serialize;

use crate::error::{ErrorCode, RequestError};

/// The header that carries a request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The format that the client accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseFormat {
    Text,
    Json,
}

#[derive(Debug, Serialize)]
struct RecognitionBody {
    request_id: String,
    stem: String,
    #[serde(flatten)]
    recognition: Recognition,
    timings: Timings,
}

#[derive(Debug, Serialize)]
struct ErrorBody<'a> {
    error: ErrorDetails<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorDetails<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

impl ResponseFormat {
    /// Returns JSON if the header `Accept` names it.
    pub fn accepted_by(headers: &HeaderMap) -> Self {
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

    pub fn recognized(self, recognized: RecognizeResponse) -> Response {
        let id = recognized.request_id.parse().ok();
        let body = RecognitionBody {
            request_id: recognized.request_id,
            stem: recognized.stem,
            recognition: recognized.recognition.unwrap_or_default(),
            timings: recognized.timings.unwrap_or_default(),
        };
        let response = match self {
            Self::Text => text(format!("{}:{}", body.stem, body.recognition.name)),
            Self::Json => Json(body).into_response(),
        };
        with_id(response, id)
    }

    pub fn error(self, error: &RequestError, id: Option<JobId>) -> Response {
        let mut response = match self {
            Self::Text => text(format!("{}\n", error.message)),
            Self::Json => {
                let request_id = id.map(|id| id.to_string());
                let code = error.code.name();
                let error = ErrorDetails {
                    code,
                    message: &error.message,
                    request_id,
                };
                Json(ErrorBody { error }).into_response()
            }
        };
        *response.status_mut() = error.code.http_status();
        if error.code == ErrorCode::NoKey {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        if let Some(seconds) = error.retry_after_seconds() {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        with_id(response, id)
    }
}

/// Returns whether a media range such as `application/json;q=0.9` accepts JSON. Quality zero refuses it.
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

fn with_id(mut response: Response, id: Option<JobId>) -> Response {
    if let Some(id) = id {
        let value = HeaderValue::try_from(id.to_string()).expect("an id is hexadecimal");
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(accept: &'static str) -> ResponseFormat {
        ResponseFormat::accepted_by(&HeaderMap::from_iter([(
            ACCEPT,
            HeaderValue::from_static(accept),
        )]))
    }

    #[test]
    fn the_accept_header_chooses_the_format() {
        assert_eq!(format("application/json"), ResponseFormat::Json);
        assert_eq!(
            format("text/html, Application/JSON;q=0.9"),
            ResponseFormat::Json
        );
        assert_eq!(format("*/*"), ResponseFormat::Text);
        assert_eq!(
            format("text/plain, application/json;q=0"),
            ResponseFormat::Text
        );
        assert_eq!(
            ResponseFormat::accepted_by(&HeaderMap::new()),
            ResponseFormat::Text
        );
    }
}
