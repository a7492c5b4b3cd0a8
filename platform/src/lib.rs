//! The common base of all Muster services. AWS and the local cloud share one code path; only the endpoint URL differs.
//!
//! | modules | what they do |
//! |---|---|
//! | [`aws`], [`objects`], [`queue`], [`fleet`], [`metadata`] | adapters over the AWS SDK: S3, SQS, EC2, instance metadata |
//! | [`kept_results`] | results that wait for callers who come back |
//! | [`preflight`] | checks of an account before it is needed |
//! | [`grpc`], [`http`], [`connections`], [`tls`], `channel` | servers and channels, with their limits |
//! | `timeouts` | timeouts of calls to AWS |
//! | [`access`], [`token`], [`reload`] | API keys and tokens; files that are reloaded |
//! | [`cross_site`] | calls that pages of other sites make browsers send |
//! | [`demand`] | demand, and its exchange through Redis |
//! | [`telemetry`], [`metric`], [`admin`], [`shutdown`], [`process`] | logs, traces, metrics, health, start and end of a process |
//! | [`service_manager`] | readiness and life, as systemd asks for them |
//! | [`backoff`], [`duration`] | pauses between attempts; durations on the command line |

pub mod access;
pub mod admin;
pub mod aws;
pub mod backoff;
mod channel;
pub mod connections;
pub mod cross_site;
pub mod demand;
pub mod duration;
pub mod fleet;
pub mod grpc;
pub mod http;
pub mod kept_results;
pub mod metadata;
pub mod metric;
pub mod objects;
pub mod preflight;
pub mod process;
pub mod queue;
pub mod reload;
pub mod service_manager;
pub mod shutdown;
pub mod telemetry;
mod timeouts;
pub mod tls;
pub mod token;
