//! Errors that do not come from a service's own rules: its caller is not let in, or a fault strikes. Each is put into
//! the shape of the protocol that the caller speaks.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use s3s::Body;

use crate::auth::AuthError;
use crate::faults::Service;
use crate::respond::{request_id, respond, xml};
use crate::sqs::query_error;
use crate::xml::Xml;

/// How a request was written, and its answer is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    S3,
    SqsJson,
    SqsQuery,
    Ec2,
}

impl Protocol {
    /// Whose protocol it is.
    pub fn service(self) -> Service {
        match self {
            Self::S3 => Service::S3,
            Self::SqsJson | Self::SqsQuery => Service::Sqs,
            Self::Ec2 => Service::Ec2,
        }
    }

    /// The service's name in the metrics.
    pub fn service_name(self) -> &'static str {
        match self.service() {
            Service::S3 => "s3",
            Service::Sqs => "sqs",
            Service::Ec2 => "ec2",
        }
    }
}

/// An error to answer with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// As AWS spells it.
    pub code: String,
    /// HTTP status.
    pub status: StatusCode,
    pub message: String,
}

impl Refusal {
    /// What each service says to those whom it does not let in.
    pub fn of_auth(error: &AuthError, protocol: Protocol) -> Self {
        let of = |code: &str, status: StatusCode, message: String| Self {
            code: code.to_owned(),
            status,
            message,
        };
        match (protocol, error) {
            (Protocol::Ec2, AuthError::Missing) => of(
                "MissingParameter",
                StatusCode::BAD_REQUEST,
                "The request must contain the parameter AWSAccessKeyId".to_owned(),
            ),
            (Protocol::Ec2, AuthError::UnknownKey | AuthError::Mismatch | AuthError::Scope(_)) => {
                of(
                    "AuthFailure",
                    StatusCode::UNAUTHORIZED,
                    "AWS was not able to validate the provided access credentials".to_owned(),
                )
            }
            (Protocol::Ec2, AuthError::Skewed(_) | AuthError::Expired) => of(
                "RequestExpired",
                StatusCode::BAD_REQUEST,
                "Request has expired.".to_owned(),
            ),
            (_, error) => {
                let (code, status) = match error {
                    AuthError::Missing => ("MissingAuthenticationToken", StatusCode::FORBIDDEN),
                    AuthError::Incomplete(_) => ("IncompleteSignature", StatusCode::BAD_REQUEST),
                    AuthError::UnknownKey => ("InvalidClientTokenId", StatusCode::FORBIDDEN),
                    AuthError::Mismatch | AuthError::Scope(_) | AuthError::Skewed(_) => {
                        ("SignatureDoesNotMatch", StatusCode::FORBIDDEN)
                    }
                    AuthError::Expired => ("RequestExpired", StatusCode::BAD_REQUEST),
                };
                of(code, status, error.to_string())
            }
        }
    }

    /// The answer.
    pub fn response(&self, protocol: Protocol) -> Response<Body> {
        match protocol {
            Protocol::S3 => xml(
                self.status,
                document(|xml| xml.element("Error", |xml| self.content(xml))),
            ),
            Protocol::Ec2 => xml(
                self.status,
                Xml::error(&self.code, &self.message, &request_id()),
            ),
            Protocol::SqsQuery => xml(
                self.status,
                query_error(
                    self.who_is_at_fault(),
                    &self.code,
                    &self.message,
                    &request_id(),
                ),
            ),
            Protocol::SqsJson => sqs_json_error(
                self.status,
                &format!("com.amazonaws.sqs#{}", self.code),
                &format!("{};{}", self.code, self.who_is_at_fault()),
                &self.message,
            ),
        }
    }

    fn content(&self, xml: &mut Xml) {
        xml.text("Code", &self.code);
        xml.text("Message", &self.message);
    }

    fn who_is_at_fault(&self) -> &'static str {
        if self.status.is_server_error() {
            "Receiver"
        } else {
            "Sender"
        }
    }
}

fn document(content: impl FnOnce(&mut Xml)) -> String {
    let mut xml = Xml::document();
    content(&mut xml);
    xml.into_text()
}

/// An error of SQS's JSON protocol. Clients that grew up with the query protocol take the code from `query_error`, which
/// is `CODE;Sender` or `CODE;Receiver`.
pub fn sqs_json_error(
    status: StatusCode,
    shape: &str,
    query_error: &str,
    message: &str,
) -> Response<Body> {
    let body = serde_json::json!({ "__type": shape, "message": message }).to_string();
    let mut response = respond(status, "application/x-amz-json-1.0", Bytes::from(body));
    // A code from the faults may be any text; one that fits into no header has only its shape.
    if let Ok(query_error) = HeaderValue::from_str(query_error) {
        response
            .headers_mut()
            .insert("x-amzn-query-error", query_error);
    }
    response
}
