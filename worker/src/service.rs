//! What turns the recogniser into a worker of the fleet.

mod attend;
mod inference;
mod lease;
mod model;
mod notices;
mod process;
mod run;
mod store;
mod work;

pub use inference::{Inference, InferenceError};
pub use model::{EngineArgs, LinkedEngines, ModelArgs};
pub use run::{ServeArgs, run};
