//! A worker of the fleet: takes messages from the request queue, runs their jobs, and obeys the scaler and EC2.
//!
//! | module | what it does |
//! |---|---|
//! | `run` | starts everything, and ends it in order |
//! | `work` | the loop: receives messages, starts jobs, reports the worker's state |
//! | `intake` | the loop's decisions, pure |
//! | `receive_policy` | how many messages to receive with which call |
//! | `process` | one job: fetch, recognize, store, reply |
//! | `replies`, `deletes` | send replies and delete messages, several with one call |
//! | `reply` | errors as messages |
//! | `inference` | the OS threads that run the recognizer |
//! | `lease` | keeps a message hidden while its job runs |
//! | `store` | writes results to the object store |
//! | `attend` | the stream to the scaler: status up, orders down |
//! | `notices` | EC2's notices that the instance is about to end |
//! | `model` | which model, gallery and engine, from the command line |
//! | `metric` | the metrics |
//! | `trace` | a job's spans in the trace of its request |

mod attend;
mod deletes;
mod inference;
mod intake;
mod lease;
mod metric;
mod model;
mod notices;
mod process;
mod receive_policy;
mod replies;
mod reply;
mod reply_size;
mod run;
mod store;
mod trace;
mod work;

pub use inference::{FoundFaces, Inference, InferenceError, Load, RecognizePhotos};
pub use model::{EngineArgs, LinkedEngines, ModelArgs};
pub use run::{ServeArgs, run, run_with};

/// The pure parts, of which chaos simulates a worker.
#[doc(hidden)]
pub mod pure {
    pub use crate::frames::recognition;

    pub use super::attend::{Control, Order, Status};
    pub use super::intake::{Actions, Intake, JobEnd};
    pub use super::lease::extension_period;
    pub use super::process::job::{Job, Subject};
    pub use super::receive_policy::ReceiveRequest;
    pub use super::reply::{expired, failure};
    pub use super::reply_size::encode as encode_reply;
    pub use super::store::{digest, result_keys};
}
