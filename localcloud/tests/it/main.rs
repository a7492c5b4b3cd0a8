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
mod s3_auth;
mod s3_buckets;
mod s3_conditions;
mod s3_events;
mod s3_killed;
mod s3_multipart;
mod s3_objects;
mod signatures;
mod sqs;
mod sqs_errors;
mod sqs_kept;
mod sqs_messages;
mod sqs_permissions;
mod sqs_query;
mod sqs_redrive;
mod sqs_waiting;
mod unkind_boots;
mod unkind_ends;
mod unkind_limits;
mod unkind_placement;
mod unkind_sqs;
