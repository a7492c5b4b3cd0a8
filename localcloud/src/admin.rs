//! The admin endpoint, which is not part of AWS's API.
//!
//! - `GET /_localcloud/faults` returns the faults in force as JSON. `PUT` replaces them with JSON, or with TOML if the
//!   `Content-Type` is `application/toml`. `DELETE` removes them.
//! - `POST /_localcloud/ec2/interruptions` with `{"instance_id": "i-…", "action": "terminate", "notice_ms": 120000}`
//!   interrupts a spot instance. `action` and `notice_ms` are optional.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, Response, StatusCode, header};
use s3s::Body;
use serde::Serialize;

use crate::ec2::Ec2;
use crate::fault_injection::FaultInjection;
use crate::faults::Faults;
use crate::response::response;

#[derive(Debug)]
pub struct Admin {
    faults: Arc<FaultInjection>,
    ec2: Arc<Ec2>,
}

impl Admin {
    pub fn new(faults: Arc<FaultInjection>, ec2: Arc<Ec2>) -> Self {
        Self { faults, ec2 }
    }

    /// Handles a request to `/_localcloud/`.
    pub fn handle(&self, request: &Parts, body: &[u8]) -> Response<Body> {
        match (&request.method, request.uri.path()) {
            (&Method::GET, "/_localcloud/faults") => json(StatusCode::OK, &self.faults.get()),
            (&Method::PUT, "/_localcloud/faults") => match read_faults(request, body) {
                Ok(faults) => self.set_faults(faults),
                Err(reason) => refuse(StatusCode::BAD_REQUEST, &reason),
            },
            (&Method::DELETE, "/_localcloud/faults") => self.set_faults(Faults::default()),
            (&Method::POST, "/_localcloud/ec2/interruptions") => self.interrupt(body),
            (_, "/_localcloud/ec2/interruptions") => {
                refuse(StatusCode::METHOD_NOT_ALLOWED, "use POST")
            }
            (_, "/_localcloud/faults") => {
                refuse(StatusCode::METHOD_NOT_ALLOWED, "use GET, PUT or DELETE")
            }
            (_, path) => {
                let reason = format!(
                    "nothing is at {path}: use /_localcloud/faults or /_localcloud/ec2/interruptions"
                );
                refuse(StatusCode::NOT_FOUND, &reason)
            }
        }
    }

    fn set_faults(&self, faults: Faults) -> Response<Body> {
        self.faults.set(faults);
        json(StatusCode::OK, &self.faults.get())
    }

    fn interrupt(&self, body: &[u8]) -> Response<Body> {
        let request = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        match self.ec2.interrupt(&request) {
            Ok(announced) => json(StatusCode::OK, &announced),
            Err(error) => refuse(error.status(), &format!("{}: {error}", error.code())),
        }
    }
}

fn read_faults(request: &Parts, body: &[u8]) -> Result<Faults, String> {
    let content_type = request.headers.get(header::CONTENT_TYPE);
    let is_toml = content_type.is_some_and(|it| it.as_bytes().starts_with(b"application/toml"));
    let faults: Faults = if is_toml {
        toml::from_slice(body).map_err(|error| error.to_string())?
    } else {
        serde_json::from_slice(body).map_err(|error| error.to_string())?
    };
    faults.check().map_err(|error| error.to_string())?;
    Ok(faults)
}

fn refuse(status: StatusCode, reason: &str) -> Response<Body> {
    let error = serde_json::json!({ "error": reason });
    response(status, "application/json", format!("{error}\n"))
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let mut json = serde_json::to_vec_pretty(value).expect("plain values have plain names");
    json.push(b'\n');
    response(status, "application/json", json)
}
