//! localcloud as the real AWS SDK sees it, over sockets on ephemeral ports.

#![allow(clippy::unwrap_used)]

mod cloud;
mod ec2;
mod faults;
mod faults_file;
mod killed;
mod processes;
mod routing;
mod s3;
mod signatures;
mod sqs;
mod sqs_kept;
mod sqs_waiting;
mod unkind_boots;
mod unkind_limits;
mod unkind_placement;
