//! Muster's contracts: gRPC services, queue messages, and names.
//!
//! | module | what it has |
//! |---|---|
//! | [`v1`] | the code generated from `muster/v1/*.proto` |
//! | [`message`] | queue messages as JSON |
//! | [`names`] | names of buckets, queues and instances |
//! | [`video`] | keys of the objects of clips |
//! | [`file_name`], [`job_id`] | validated file names and job ids |

pub mod file_name;
pub mod job_id;
pub mod message;
pub mod names;
pub mod video;

pub use file_name::{FileName, FileNameError};
pub use job_id::{JobId, JobIdError};
pub use message::{MessageError, decode, encode};
pub use names::Names;
pub use video::{FrameKeys, VideoKeys};

/// The generated code of package `muster.v1`.
#[allow(clippy::all, missing_debug_implementations)]
pub mod v1 {
    tonic::include_proto!("muster.v1");
}

/// The encoded descriptors of `muster.v1`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/muster.v1.descriptors.bin"));
