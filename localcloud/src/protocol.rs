//! The services, and the protocols that their clients speak.

use serde::{Deserialize, Serialize};

/// An AWS service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AwsService {
    S3,
    Sqs,
    Ec2,
    Iam,
    Sts,
    CloudWatch,
    Logs,
    Lambda,
}

/// How a request is written, and its reply must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    S3,
    SqsJson,
    SqsQuery,
    Ec2,
    Iam,
    Sts,
    CloudWatchJson,
    CloudWatchQuery,
    LogsJson,
    Lambda,
}

impl AwsService {
    /// Returns the service's name in signatures and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Sqs => "sqs",
            Self::Ec2 => "ec2",
            Self::Iam => "iam",
            Self::Sts => "sts",
            Self::CloudWatch => "monitoring",
            Self::Logs => "logs",
            Self::Lambda => "lambda",
        }
    }
}

impl Protocol {
    /// Returns the content type of a reply in a JSON protocol.
    pub fn json_type(self) -> &'static str {
        match self {
            Self::LogsJson => "application/x-amz-json-1.1",
            _ => "application/x-amz-json-1.0",
        }
    }

    /// Returns the service that the protocol belongs to.
    pub fn service(self) -> AwsService {
        match self {
            Self::S3 => AwsService::S3,
            Self::SqsJson | Self::SqsQuery => AwsService::Sqs,
            Self::Ec2 => AwsService::Ec2,
            Self::Iam => AwsService::Iam,
            Self::Sts => AwsService::Sts,
            Self::CloudWatchJson | Self::CloudWatchQuery => AwsService::CloudWatch,
            Self::LogsJson => AwsService::Logs,
            Self::Lambda => AwsService::Lambda,
        }
    }
}
