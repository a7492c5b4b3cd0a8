//! Errors that every action of a service can return: the caller is not authenticated, or a fault is injected.

use http::{HeaderValue, Response, StatusCode};
use s3s::Body;

use crate::auth::AuthError;
use crate::iam::Denied;
use crate::protocol::Protocol;
use crate::response::{request_id, response, set_request_id, xml};
use crate::xml::Xml;

/// An error in AWS's terms, not yet in the shape of a protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommonError {
    /// As AWS spells it.
    pub code: String,
    pub status: StatusCode,
    pub message: String,
}

impl CommonError {
    pub fn new(code: &str, status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            status,
            message: message.into(),
        }
    }

    /// Returns the error of a service whose caller failed to authenticate.
    pub fn of_auth(error: &AuthError, protocol: Protocol) -> Self {
        let (code, status) = match (protocol, error) {
            (Protocol::Ec2, AuthError::Missing) => {
                return Self::new(
                    "MissingParameter",
                    StatusCode::BAD_REQUEST,
                    "The request must contain the parameter AWSAccessKeyId",
                );
            }
            (
                Protocol::Ec2,
                AuthError::UnknownKey
                | AuthError::WrongToken
                | AuthError::Mismatch
                | AuthError::Scope(_),
            ) => {
                return Self::new(
                    "AuthFailure",
                    StatusCode::UNAUTHORIZED,
                    "AWS was not able to validate the provided access credentials",
                );
            }
            (
                Protocol::Ec2,
                AuthError::Skewed(_) | AuthError::Expired | AuthError::ExpiredToken,
            ) => {
                let message = AuthError::Expired.to_string();
                return Self::new("RequestExpired", StatusCode::BAD_REQUEST, message);
            }
            (_, AuthError::Missing) => ("MissingAuthenticationToken", StatusCode::FORBIDDEN),
            (_, AuthError::Incomplete(_)) => ("IncompleteSignature", StatusCode::BAD_REQUEST),
            (_, AuthError::UnknownKey | AuthError::WrongToken) => {
                ("InvalidClientTokenId", StatusCode::FORBIDDEN)
            }
            (_, AuthError::ExpiredToken) => ("ExpiredToken", StatusCode::FORBIDDEN),
            (_, AuthError::Mismatch | AuthError::Scope(_) | AuthError::Skewed(_)) => {
                ("SignatureDoesNotMatch", StatusCode::FORBIDDEN)
            }
            (_, AuthError::Expired) => ("RequestExpired", StatusCode::BAD_REQUEST),
        };
        Self::new(code, status, error.to_string())
    }

    /// Returns the error of a call that the caller's policies do not allow.
    pub fn of_denied(denied: &Denied, protocol: Protocol) -> Self {
        let (code, message) = match protocol {
            Protocol::Ec2 => (
                "UnauthorizedOperation",
                format!("You are not authorized to perform this operation. {denied}"),
            ),
            // SQS writes actions in lower case.
            Protocol::SqsJson | Protocol::SqsQuery => {
                let action = denied.action.to_ascii_lowercase();
                let text = denied.to_string().replace(&denied.action, &action);
                ("AccessDenied", text)
            }
            Protocol::LogsJson | Protocol::Lambda => ("AccessDeniedException", denied.to_string()),
            Protocol::S3
            | Protocol::Iam
            | Protocol::Sts
            | Protocol::CloudWatchJson
            | Protocol::CloudWatchQuery => ("AccessDenied", denied.to_string()),
        };
        Self::new(code, StatusCode::FORBIDDEN, message)
    }

    /// Returns the error as a response in a protocol.
    pub fn response(&self, protocol: Protocol) -> Response<Body> {
        let Self {
            code,
            status,
            message,
        } = self;
        let fault = if status.is_server_error() {
            "Receiver"
        } else {
            "Sender"
        };
        match protocol {
            Protocol::S3 => {
                let mut document = Xml::document();
                document.element("Error", |xml| {
                    xml.text("Code", code);
                    xml.text("Message", message);
                });
                xml(*status, document.into_text())
            }
            Protocol::Ec2 => xml(*status, Xml::error(code, message, &request_id())),
            Protocol::SqsJson if code == "AccessDenied" => json_error(
                *status,
                "com.amazon.coral.service#AccessDeniedException",
                "AccessDenied;Sender",
                message,
            ),
            Protocol::SqsJson => json_error(
                *status,
                &format!("com.amazonaws.sqs#{code}"),
                &format!("{code};{fault}"),
                message,
            ),
            Protocol::CloudWatchJson => json_error(
                *status,
                &format!("com.amazonaws.cloudwatch#{code}"),
                &format!("{code};{fault}"),
                message,
            ),
            Protocol::Lambda => {
                let kind = if status.is_server_error() {
                    "Service"
                } else {
                    "User"
                };
                let body =
                    serde_json::json!({ "Type": kind, "Message": message, "message": message });
                let mut response = response(*status, "application/json", body.to_string());
                // The code of an injected fault may be any text, also one that no header can carry.
                if let Ok(code) = HeaderValue::from_str(code) {
                    response.headers_mut().insert("x-amzn-errortype", code);
                }
                response
            }
            Protocol::LogsJson => {
                let body = serde_json::json!({ "__type": code, "message": message }).to_string();
                response(*status, protocol.json_type(), body)
            }
            Protocol::SqsQuery | Protocol::Iam | Protocol::Sts | Protocol::CloudWatchQuery => {
                let request_id = request_id();
                let document = error_document(protocol, fault, code, message, &request_id);
                let mut response = xml(*status, document);
                set_request_id(&mut response, &request_id);
                response
            }
        }
    }
}

/// Returns an error of a JSON protocol.
///
/// Clients written for the query protocol read the code from `query_error`, which is `CODE;Sender` or `CODE;Receiver`.
pub fn json_error(
    status: StatusCode,
    shape: &str,
    query_error: &str,
    message: &str,
) -> Response<Body> {
    let body = serde_json::json!({ "__type": shape, "message": message }).to_string();
    let mut response = response(status, "application/x-amz-json-1.0", body);
    // The code of an injected fault may be any text, also one that no header can carry.
    if let Ok(query_error) = HeaderValue::from_str(query_error) {
        response
            .headers_mut()
            .insert("x-amzn-query-error", query_error);
    }
    response
}

/// Returns an error of a query protocol that wraps replies in results. `fault` is `Sender` or `Receiver`.
pub fn error_document(
    protocol: Protocol,
    fault: &str,
    code: &str,
    message: &str,
    request_id: &str,
) -> String {
    let mut xml = Xml::document();
    xml.element_in(protocol.namespace(), "ErrorResponse", |xml| {
        xml.element("Error", |xml| {
            xml.text("Type", fault);
            xml.text("Code", code);
            xml.text("Message", message);
            if protocol == Protocol::SqsQuery {
                xml.element("Detail", |_| {});
            }
        });
        xml.text("RequestId", request_id);
    });
    xml.into_text()
}
