//! localcloud as the real AWS SDK sees it, over sockets on ephemeral ports.

#![allow(clippy::unwrap_used)]

mod browsers;
mod cloud;
mod ec2;
mod ec2_attributes;
mod ec2_catalog;
mod ec2_images;
mod faults;
mod faults_file;
mod fuzz;
mod interruptions;
mod killed;
mod metadata;
mod processes;
mod routing;
mod s3;
mod signatures;
mod sqs;
mod unkind_boots;
mod unkind_ends;
mod unkind_limits;
mod unkind_placement;
