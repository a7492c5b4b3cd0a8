//! HTTP responses from their parts.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use s3s::Body;
use uuid::Uuid;

/// Returns a new request identifier.
pub fn request_id() -> String {
    Uuid::new_v4().to_string()
}

/// Returns a response of plain text.
pub fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    response(status, "text/plain; charset=utf-8", text)
}

/// Returns a response with an XML document.
pub fn xml(status: StatusCode, document: String) -> Response<Body> {
    response(status, "text/xml;charset=UTF-8", document)
}

/// Returns a response with a request identifier of its own.
pub fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    set_request_id(&mut response, &request_id());
    response
}

/// Sets the header that names the request.
pub fn set_request_id(response: &mut Response<Body>, request_id: &str) {
    let request_id = HeaderValue::from_str(request_id).expect("a UUID is a valid header value");
    response
        .headers_mut()
        .insert("x-amzn-requestid", request_id);
}
