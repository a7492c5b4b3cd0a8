//! What is not AWS: the faults, looked at and changed while localcloud runs.
//!
//! `GET /_localcloud/faults` answers the present faults as JSON, `PUT` replaces them (JSON, or TOML as in the file with
//! `Content-Type: application/toml`) and `DELETE` takes them away. Whatever was drawn by chance begins anew with each
//! change.
//!
//! `POST /_localcloud/ec2/interruptions` with `{"instance_id": "i-…", "action": "terminate", "notice_ms": 120000}` has
//! EC2 take a spot instance back; action and notice may be left out.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode, header};
use s3s::Body;

use crate::clock::Millis;
use crate::faults::{CallFaults, Faults, Limits, Service, Verdict};
use crate::respond::respond;
use crate::router::Router;

/// The present faults, and those of calls at work.
#[derive(Debug)]
pub struct FaultBoard {
    present: Mutex<Present>,
    /// EC2's limits whatever the faults say; buckets of the faults stand in place of those for the same actions.
    ec2_limits: Limits,
}

#[derive(Debug)]
struct Present {
    faults: Faults,
    calls: CallFaults,
}

impl FaultBoard {
    pub fn new(ec2_limits: Limits, now: Millis) -> Self {
        Self {
            present: Mutex::new(Present::new(Faults::default(), now)),
            ec2_limits,
        }
    }

    /// What happens to one call.
    pub fn judge(&self, service: Service, action: &str, now: Millis) -> Verdict {
        self.lock().calls.judge(service, action, now)
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present {
    fn new(faults: Faults, now: Millis) -> Self {
        Self {
            calls: CallFaults::new(&faults.call, faults.seed, now),
            faults,
        }
    }
}

impl Router {
    /// Answers a request to `/_localcloud/`.
    pub(crate) fn administer(&self, request: &Parts, body: &Bytes) -> Response<Body> {
        match (&request.method, request.uri.path()) {
            (&Method::GET, "/_localcloud/faults") => self.describe_faults(),
            (&Method::PUT, "/_localcloud/faults") => match read_faults(request, body) {
                Ok(faults) => {
                    self.set_faults(faults);
                    self.describe_faults()
                }
                Err(reason) => refuse(StatusCode::BAD_REQUEST, &reason),
            },
            (&Method::DELETE, "/_localcloud/faults") => {
                self.set_faults(Faults::default());
                self.describe_faults()
            }
            (&Method::POST, "/_localcloud/ec2/interruptions") => self.interrupt(body),
            (_, "/_localcloud/ec2/interruptions") => {
                refuse(StatusCode::METHOD_NOT_ALLOWED, "use POST")
            }
            (_, "/_localcloud/faults") => {
                refuse(StatusCode::METHOD_NOT_ALLOWED, "use GET, PUT or DELETE")
            }
            (_, path) => refuse(StatusCode::NOT_FOUND, &format!("nothing is at {path}")),
        }
    }

    fn describe_faults(&self) -> Response<Body> {
        let json = serde_json::to_vec_pretty(&self.faults.lock().faults)
            .expect("faults are plain values under plain names");
        json_response(StatusCode::OK, json)
    }

    /// Announces the interruption of a spot instance.
    fn interrupt(&self, body: &[u8]) -> Response<Body> {
        let request = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        match self.ec2.interrupt(&request) {
            Ok(answer) => {
                let json = serde_json::to_vec_pretty(&answer)
                    .expect("an answer is plain values under plain names");
                json_response(StatusCode::OK, json)
            }
            Err(error) => refuse(error.status(), &format!("{}: {error}", error.code())),
        }
    }

    /// Makes the services as unkind as this from now on.
    pub(crate) fn set_faults(&self, mut faults: Faults) {
        let mut limits = self.faults.ec2_limits.clone();
        limits.add(faults.ec2.limits);
        faults.ec2.limits = limits;
        // Held until all services know, so that two changes at once do not mix.
        let mut present = self.faults.lock();
        self.sqs.set_faults(faults.sqs, faults.seed);
        self.ec2.set_faults(faults.ec2.clone(), faults.seed);
        *present = Present::new(faults, self.clock.now());
    }
}

fn read_faults(request: &Parts, body: &[u8]) -> Result<Faults, String> {
    let is_toml = request
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/toml"));
    let faults: Faults = if is_toml {
        let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
        toml::from_str(text).map_err(|error| error.to_string())?
    } else {
        serde_json::from_slice(body).map_err(|error| error.to_string())?
    };
    faults.check().map_err(|error| error.to_string())?;
    Ok(faults)
}

fn refuse(status: StatusCode, reason: &str) -> Response<Body> {
    let json = serde_json::json!({ "error": reason });
    json_response(status, json.to_string().into_bytes())
}

fn json_response(status: StatusCode, mut json: Vec<u8>) -> Response<Body> {
    json.push(b'\n');
    respond(status, "application/json", Bytes::from(json))
}
