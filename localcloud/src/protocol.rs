//! The services, and the protocols that their clients speak.

use http::{HeaderMap, header};
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
    const ALL: [Self; 8] = [
        Self::S3,
        Self::Sqs,
        Self::Ec2,
        Self::Iam,
        Self::Sts,
        Self::CloudWatch,
        Self::Logs,
        Self::Lambda,
    ];

    /// Returns the service of a name in signatures.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }

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

    /// Returns the XML namespace of a query protocol in which replies are wrapped in results.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::SqsQuery => "http://queue.amazonaws.com/doc/2012-11-05/",
            Self::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
            _ => "http://monitoring.amazonaws.com/doc/2010-08-01/",
        }
    }
}

/// Returns what queue URLs begin with: the address by which the client reached localcloud.
pub fn base_url(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    format!("http://{}", host.unwrap_or("localhost"))
}
