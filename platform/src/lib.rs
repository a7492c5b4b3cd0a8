//! What every Muster service stands on: telemetry, shutdown, health, AWS configuration, and thin concrete adapters
//! over the AWS SDK. There is one code path for AWS and for the local cloud; the seam is the endpoint URL.

pub mod access;
pub mod admin;
pub mod aws;
pub mod backoff;
pub mod connections;
pub mod demand;
pub mod duration;
pub mod fleet;
pub mod grpc;
pub mod http;
pub mod metadata;
pub mod objects;
pub mod process;
pub mod queue;
pub mod reload;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
pub mod token;
