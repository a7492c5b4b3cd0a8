//! Muster's web tier: the HTTP gateway ([`http`]) and the gRPC front service behind it ([`front`]).
//!
//! # HTTP
//!
//! `POST /` takes `multipart/form-data` with one part `inputFile` that has a file name and holds a JPEG, PNG or WebP
//! photo. Other parts are read and ignored. The answer is `200 text/plain` `<stem>:<name>`, or JSON when the `Accept`
//! header names `application/json`. Every answer of `POST /` carries an `x-request-id`: the id
//! of the job, or an id for the log if the request never became one. Front makes the ids of jobs; an id that a client
//! sends is ignored, because a reply to an earlier job of that id would answer the wrong request. An error is one line of
//! text, or `{"error": {"code", "message", "request_id"}}` as JSON:
//!
//! | status | code | when | gRPC code of front |
//! |---|---|---|---|
//! | 400 | `bad_request` | empty body, not multipart, damaged multipart, no `inputFile`, two of them, no file name, an empty file | `INVALID_ARGUMENT` |
//! | 400 | `bad_file_name` | path characters, control characters, quotes, colons, more than 255 bytes (or than the object store takes), nothing before the extension | `INVALID_ARGUMENT` |
//! | 401 | `no_key` | no API key, or one that is not valid | `UNAUTHENTICATED` |
//! | 403 | `key_lacks_role` | the API key is not for this | `PERMISSION_DENIED` |
//! | 404 | `not_found` | another path | |
//! | 405 | `method_not_allowed` | another method than POST | |
//! | 408 | `upload_too_slow` | the upload did not arrive in time | `ABORTED` |
//! | 413 | `too_large` | more bytes than the limit (10 MiB) | `INVALID_ARGUMENT` |
//! | 413 | `too_many_pixels` | more pixels than the limit (40 megapixels) | `INVALID_ARGUMENT` |
//! | 415 | `not_an_image` | neither JPEG nor PNG nor WebP | `INVALID_ARGUMENT` |
//! | 422 | `damaged_image` | an image that cannot be decoded | `INVALID_ARGUMENT` |
//! | 422 | `no_face` | an image without a face | `INVALID_ARGUMENT` |
//! | 429 | `key_used_too_often` | the API key's limit; with `Retry-After` | `RESOURCE_EXHAUSTED` |
//! | 429 | `overloaded` | too many requests in flight, or too many bytes of photos; with `Retry-After` | `RESOURCE_EXHAUSTED` |
//! | 500 | `internal` | the fault is ours, for example a job that failed five times | `INTERNAL` |
//! | 503 | `unavailable` | front, the object store or the queue cannot be reached; with `Retry-After` | `UNAVAILABLE` |
//! | 503 | `photo_vanished` | the stored photo was deleted before a worker fetched it; with `Retry-After` | `ABORTED` |
//! | 504 | `deadline_exceeded` | no worker answered in time; the result may still be in the out-bucket later | `DEADLINE_EXCEEDED` |
//!
//! Nothing of a request refused with a 4xx stays in a bucket or on a queue. The table's one place in the code is
//! [`error::ErrorCode`]; front tells the code to its client in the trailer [`error::CODE_METADATA`].
//!
//! `GET /healthz` and `/readyz` (true while front reports that it serves) are there too, for anybody. Where keys are asked
//! for (`gateway keys`), `POST /` needs one with the role `recognize`.

pub mod error;
pub mod front;
pub mod http;
pub mod keys;

mod byte_budget;
mod drain;
mod metric;

/// Reads a command-line argument that is a number of seconds.
fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let seconds = text
        .parse()
        .map_err(|_| format!("{text:?} is not a number of seconds"))?;
    std::time::Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
