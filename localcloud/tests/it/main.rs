//! Tests of localcloud with the AWS SDK, over sockets on ephemeral ports.

#![allow(clippy::unwrap_used)]

mod browsers;
mod cloud;
mod ec2;
mod ec2_attributes;
mod ec2_boot_faults;
mod ec2_capacity_and_spot;
mod ec2_catalog;
mod ec2_images;
mod ec2_launch_settings;
mod ec2_rate_limits;
mod ec2_stop_faults;
mod faults;
mod faults_file;
mod fuzz;
mod iam;
mod instances;
mod interruptions;
mod killed;
mod lambda;
mod metadata;
mod processes;
mod routing;
mod s3;
mod signatures;
mod sqs;
