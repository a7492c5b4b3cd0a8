//! Functions behind URLs of their own, with payloads of format 2.0.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use s3s::Body;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::permissions::Permission;
use super::{Lambda, LambdaError};
use crate::iam::Access;
use crate::response::response;

/// What the path of a function's URL begins with, before its id. A host name of its own would need a resolver that knows it.
pub const URL_PATH: &str = "/_lambda-url/";

/// The URL of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionUrl {
    pub id: String,
    /// Whether requests must be signed.
    pub is_signed: bool,
    pub cors: Value,
    pub created: String,
}

impl FunctionUrl {
    /// Makes a URL from the parameters of CreateFunctionUrlConfig.
    ///
    /// # Errors
    /// When AuthType is not valid.
    pub fn new(request: &Value, now: String) -> Result<Self, LambdaError> {
        let id = Uuid::new_v4().simple().to_string();
        let mut url = Self {
            id,
            is_signed: true,
            cors: Value::Null,
            created: now,
        };
        if request["AuthType"].is_null() {
            return Err(LambdaError::InvalidParameter(
                "AuthType is required".to_owned(),
            ));
        }
        url.configure(request)?;
        Ok(url)
    }

    pub fn configure(&mut self, request: &Value) -> Result<(), LambdaError> {
        match request["AuthType"].as_str() {
            Some("NONE") => self.is_signed = false,
            Some("AWS_IAM") => self.is_signed = true,
            None => {}
            Some(other) => {
                return Err(LambdaError::Validation(format!(
                    "1 validation error detected: Value '{other}' at 'authType' failed to satisfy constraint: Member must satisfy enum value set: [NONE, AWS_IAM]"
                )));
            }
        }
        if request["InvokeMode"] == "RESPONSE_STREAM" {
            let message = "localcloud has no response streaming; give InvokeMode BUFFERED";
            return Err(LambdaError::InvalidParameter(message.to_owned()));
        }
        if !request["Cors"].is_null() {
            self.cors = request["Cors"].clone();
        }
        Ok(())
    }

    pub fn json(&self, endpoint: &str, function_arn: &str) -> Value {
        let mut shown = json!({
            "FunctionUrl": format!("{endpoint}{URL_PATH}{}/", self.id),
            "FunctionArn": function_arn,
            "AuthType": if self.is_signed { "AWS_IAM" } else { "NONE" },
            "CreationTime": self.created,
            "LastModifiedTime": self.created,
            "InvokeMode": "BUFFERED",
        });
        if !self.cors.is_null() {
            shown["Cors"] = self.cors.clone();
        }
        shown
    }
}

impl Lambda {
    /// Handles a request to a function's URL.
    pub async fn call_url(self: &Arc<Self>, parts: &Parts, body: Bytes) -> Response<Body> {
        let rest = parts.uri.path().strip_prefix(URL_PATH).unwrap_or_default();
        let (id, path) = rest.split_once('/').unwrap_or((rest, ""));
        let found = self.lock().functions.values().find_map(|entry| {
            let url = entry.url.as_ref().filter(|url| url.id == id)?;
            let is_public = entry.policy.iter().any(Permission::allows_public_url);
            Some((entry.function.name.clone(), url.is_signed, is_public))
        });
        let Some((name, is_signed, is_public)) = found else {
            return message(StatusCode::FORBIDDEN, "Forbidden");
        };
        let now = OffsetDateTime::UNIX_EPOCH + std::time::Duration::from_millis(self.clock.now());
        let may_call = match self.iam.verify(parts, &body, "lambda", now) {
            _ if !is_signed => is_public,
            Err(_) => false,
            Ok(caller) => {
                let arn = super::function::arn(&self.region, &name);
                let access = Access::new("lambda:InvokeFunctionUrl", arn);
                self.iam.authorize(&caller, &[access]).is_ok()
            }
        };
        if !may_call {
            return message(StatusCode::FORBIDDEN, "Forbidden");
        }
        let request_id = Uuid::new_v4().to_string();
        let payload = event(parts, path, id, &body, &request_id, now);
        let permit = match self.try_permit(&name) {
            Ok(permit) => permit,
            Err(LambdaError::TooManyRequests) => {
                return message(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests");
            }
            Err(_) => return message(StatusCode::FORBIDDEN, "Forbidden"),
        };
        let payload = payload.to_string().into();
        match self
            .run(&name, payload, request_id, permit)
            .await
            .map(|it| it.result)
        {
            Ok(Ok(payload)) => http_response(&payload),
            _ => message(StatusCode::BAD_GATEWAY, "Internal Server Error"),
        }
    }
}

fn event(
    parts: &Parts,
    path: &str,
    id: &str,
    body: &Bytes,
    request_id: &str,
    now: OffsetDateTime,
) -> Value {
    let mut headers = Map::new();
    let mut cookies = Vec::new();
    for (name, value) in &parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        if name == header::COOKIE {
            cookies.extend(value.split("; ").map(|it| Value::from(it.to_owned())));
            continue;
        }
        match headers.get_mut(name.as_str()) {
            Some(Value::String(before)) => *before = format!("{before},{value}"),
            _ => drop(headers.insert(name.as_str().to_owned(), value.into())),
        }
    }
    let query = parts.uri.query().unwrap_or_default();
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
    let mut parameters = Map::new();
    for (name, value) in pairs {
        match parameters.get_mut(&name) {
            Some(Value::String(before)) => *before = format!("{before},{value}"),
            _ => drop(parameters.insert(name, value.into())),
        }
    }
    let path = format!("/{path}");
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": id,
            "domainName": headers.get("host"),
            "domainPrefix": id,
            "http": {
                "method": parts.method.as_str(),
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": headers.get("user-agent"),
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": now.to_string(),
            "timeEpoch": (now.unix_timestamp_nanos() / 1_000_000) as u64,
        },
        "isBase64Encoded": false,
    });
    if !cookies.is_empty() {
        event["cookies"] = cookies.into();
    }
    if !parameters.is_empty() {
        event["queryStringParameters"] = parameters.into();
    }
    if !body.is_empty() {
        // What is not declared as text is passed in Base64.
        let kind = headers_text(parts, "content-type");
        let is_text = kind.starts_with("text/")
            || kind.contains("json")
            || kind.contains("xml")
            || kind.contains("urlencoded")
            || kind.is_empty();
        match std::str::from_utf8(body) {
            Ok(text) if is_text => event["body"] = text.into(),
            _ => {
                event["body"] = BASE64_STANDARD.encode(body).into();
                event["isBase64Encoded"] = true.into();
            }
        }
    }
    event
}

fn headers_text(parts: &Parts, name: &str) -> String {
    let value = parts
        .headers
        .get(name)
        .and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_ascii_lowercase()
}

/// Returns the response that a function's payload asks for: an object with `statusCode`, or the payload itself.
fn http_response(payload: &[u8]) -> Response<Body> {
    let value: Value = serde_json::from_slice(payload).unwrap_or_default();
    if value["statusCode"].is_null() {
        let body = match &value {
            Value::String(text) => text.clone().into_bytes(),
            _ => payload.to_vec(),
        };
        return response(StatusCode::OK, "application/json", body);
    }
    let status = value["statusCode"]
        .as_u64()
        .and_then(|code| u16::try_from(code).ok());
    let status = status.and_then(|code| StatusCode::from_u16(code).ok());
    // Those below are not the end of a reply.
    let status = status.filter(|status| status.as_u16() >= 200);
    let Some(status) = status else {
        return message(StatusCode::BAD_GATEWAY, "Internal Server Error");
    };
    let text = value["body"].as_str().map_or_else(
        || match &value["body"] {
            Value::Null => String::new(),
            other => other.to_string(),
        },
        str::to_owned,
    );
    let body = if value["isBase64Encoded"] == true {
        match BASE64_STANDARD.decode(&text) {
            Ok(body) => body,
            Err(_) => return message(StatusCode::BAD_GATEWAY, "Internal Server Error"),
        }
    } else {
        text.into_bytes()
    };
    let mut response = response(status, "application/json", body);
    let headers = value["headers"].as_object().into_iter().flatten();
    for (name, value) in headers {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&text))
            && name != header::CONTENT_LENGTH
            && name != header::TRANSFER_ENCODING
            && name != header::CONNECTION
        {
            response.headers_mut().insert(name, value);
        }
    }
    for cookie in value["cookies"].as_array().into_iter().flatten() {
        if let Some(cookie) = cookie
            .as_str()
            .and_then(|it| HeaderValue::from_str(it).ok())
        {
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    response
}

fn message(status: StatusCode, text: &str) -> Response<Body> {
    response(
        status,
        "application/json",
        json!({ "Message": text }).to_string(),
    )
}
