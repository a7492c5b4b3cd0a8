//! Answers from their parts.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use s3s::Body;
use uuid::Uuid;

/// A request identifier, new for each answer.
pub fn request_id() -> String {
    Uuid::new_v4().to_string()
}

pub fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    respond(status, "text/plain; charset=utf-8", text.into())
}

pub fn xml(status: StatusCode, document: String) -> Response<Body> {
    respond(status, "text/xml;charset=UTF-8", Bytes::from(document))
}

pub fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let request_id = HeaderValue::from_str(&request_id()).expect("a UUID is a valid header value");
    response
        .headers_mut()
        .insert("x-amzn-requestid", request_id);
    response
}
