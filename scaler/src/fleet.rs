//! What is known about the instances and their workers, and where that comes from.
//!
//! | module | what it holds |
//! |---|---|
//! | `view` | joins all sources into one [`Observation`](crate::plan::Observation) |
//! | [`worker_registry`] | what workers report, and the orders to them |
//! | `boots` | starts whose worker is not ready yet, and failed boots |
//! | [`ledger`] | what the instances cost |
//! | `demand` | watches the demand of one front, or of many through Redis |
//! | `polling` | when to poll EC2 and the queue |
//! | `token` | the secret by which workers prove that they belong to the fleet |

mod boots;
pub(crate) mod demand;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod ledger;
pub(crate) mod polling;
pub(crate) mod token;
pub(crate) mod view;
pub mod worker_registry;

pub use token::FleetToken;
pub use view::FleetView;
pub use worker_registry::WorkerRegistry;
