//! Muster's web tier: the HTTP gateway and the gRPC service front behind it.
//!
//! | module | what it does |
//! |---|---|
//! | [`http`] | the gateway: reads uploads, calls front, writes responses |
//! | [`front`] | front: stores photos, enqueues jobs, awaits replies, publishes demand |
//! | [`error`] | [every error](error::ErrorCode), with its gRPC code and HTTP status |
//! | [`keys`] | `gateway keys`, which edits the API key file |
//! | `byte_budget` | the limit on bytes of photos in memory |
//! | `discard` | reads the rest of refused uploads |
//! | `metric` | all metrics |
//!
//! # HTTP
//!
//! `POST /` expects `multipart/form-data` with one part `inputFile` that has a file name and holds a JPEG, PNG or WebP
//! photo. Other parts are ignored. The response is `200 text/plain` `<stem>:<name>`, or JSON if the header `Accept` names
//! `application/json`. An error is one line of text, or `{"error": {"code", "message", "request_id"}}` as JSON. Nothing of a
//! request refused with a 4xx stays in a bucket or on a queue.
//!
//! Every response to `POST /` has an `x-request-id`, which the gateway makes: the id of the job, if there is one. Ids that a
//! client sends are ignored: a reply to an earlier job with that id would answer the wrong request. When front or the connection
//! to it ends before the answer, `GET /v1/results/<request id>` has it as soon as a worker has replied.
//!
//! `GET /` is a page for people, with files below `/page/`. `GET /v1/watch` has what it shows, as server-sent events, and needs a
//! key with the role `operate` if there is a key file.
//!
//! `POST /v1/videos` takes a clip the same way, and responds with 202 and its id; `GET /v1/videos/<id>` has its state, and its
//! timeline when it is done.
//!
//! `GET /healthz` and `/readyz` (ready while front is) need no key. With an API key file, `POST /` needs a key with the role
//! `recognize`.

pub mod error;
pub mod front;
pub mod http;
pub mod keys;

mod byte_budget;
mod discard;
mod metric;

/// The default limit of photos, in the gateway and in front.
const MAX_IMAGE_BYTES: usize = 10 << 20;
