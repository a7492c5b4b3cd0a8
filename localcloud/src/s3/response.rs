//! The parts of S3's responses that `s3s` leaves out.

use http::{HeaderValue, Response, StatusCode, header};
use s3s::Body;

use super::context::RequestContext;
use super::failure::message_of;
use super::target::Target;
use crate::xml::Xml;

/// Adds the request's identifiers to a response, and the elements of AWS to an error document.
pub fn complete(
    mut response: Response<Body>,
    target: &Target,
    context: &RequestContext,
) -> Response<Body> {
    let identifiers = [
        ("x-amz-request-id", &context.request_id),
        ("x-amz-id-2", &context.host_id),
    ];
    for (name, value) in identifiers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
        .headers_mut()
        .insert(header::SERVER, HeaderValue::from_static("AmazonS3"));
    if context.is_navigation {
        // An object has the origin of the admin endpoint, so its scripts must not run.
        for (name, value) in [
            (header::CONTENT_SECURITY_POLICY, "sandbox"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
    }
    let status = response.status();
    if let Some(expires) = context.stored_expires.get()
        && status.is_success()
        && let Ok(value) = HeaderValue::from_bytes(expires.as_bytes())
    {
        response.headers_mut().insert(header::EXPIRES, value);
    }
    if status == StatusCode::NOT_MODIFIED {
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(header::CONTENT_TYPE);
    } else if (status.is_client_error() || status.is_server_error())
        && let Some(document) = response
            .body()
            .bytes()
            .and_then(|body| error_document(&body, target, context))
    {
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(document);
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/xml"),
        );
    }
    response
}

/// Completes the error document of `s3s`.
fn error_document(body: &[u8], target: &Target, context: &RequestContext) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let content = between(text, "<Error>", "</Error>")?;
    let code = between(content, "<Code>", "</Code>")?;
    let mut xml = Xml::document();
    xml.element("Error", |xml| {
        xml.raw(content);
        if !content.contains("<Message>") {
            xml.text("Message", message_of(code).unwrap_or(code));
        }
        match code {
            "NoSuchKey" => xml.text("Key", &target.key),
            "NoSuchBucket"
            | "BucketNotEmpty"
            | "BucketAlreadyOwnedByYou"
            | "InvalidBucketName"
            | "NoSuchTagSet"
            | "NoSuchBucketPolicy" => {
                xml.text("BucketName", &target.bucket);
            }
            _ => {}
        }
        xml.text("Resource", resource(target));
        xml.text("RequestId", &context.request_id);
        xml.text("HostId", &context.host_id);
    });
    Some(xml.into_text())
}

fn resource(target: &Target) -> String {
    match target.key.as_str() {
        "" => format!("/{}", target.bucket),
        key => format!("/{}/{key}", target.bucket),
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.rsplit_once(after).map(|(content, _)| content)
}
