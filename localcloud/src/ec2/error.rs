//! The errors of EC2, with the codes that clients branch on.

use http::StatusCode;
use thiserror::Error;

/// The result of a part of a call.
pub type Ec2Result<T = ()> = Result<T, Ec2Error>;

/// An EC2 error. Clients see the message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Ec2Error {
    #[error("The instance ID{} '{}' do{} not exist", plural(.0), .0.join(", "), if .0.len() == 1 { "es" } else { "" })]
    InstanceNotFound(Vec<String>),
    #[error("Invalid id: \"{0}\" (expecting \"i-...\")")]
    InstanceMalformed(String),
    #[error("The instance '{id}' is not in a state from which it can be {verb}.")]
    IncorrectInstanceState { id: String, verb: &'static str },
    #[error("The instance '{0}' is not in the 'stopped' state.")]
    NotStopped(String),
    #[error(
        "The instance '{id}' may not be {verb}. Modify its '{attribute}' instance attribute and try again."
    )]
    Protected {
        id: String,
        verb: &'static str,
        attribute: &'static str,
    },
    #[error("The instance '{0}' is not enabled for hibernation.")]
    NoHibernation(String),
    #[error("The instance '{id}' cannot be interrupted with this action: {why}.")]
    NotInterruptible { id: String, why: String },
    #[error("Invalid id: \"{0}\" (expecting \"ami-...\")")]
    ImageMalformed(String),
    #[error("The image id '[{0}]' is no longer available")]
    ImageUnavailable(String),
    #[error("AMI name {name} is already in use by AMI {id}")]
    ImageNameTaken { name: String, id: String },
    #[error(
        "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '.', '-', '/' and '_'"
    )]
    ImageNameMalformed,
    #[error("{0}")]
    InvalidManifest(String),
    #[error("{0}")]
    UnsupportedOperation(String),
    #[error("The following supplied instance types do not exist: [{0}]")]
    InvalidInstanceType(String),
    #[error("The maximum number of filter values specified on a single call is {0}")]
    FilterLimitExceeded(usize),
    #[error("The image id '[{0}]' does not exist")]
    ImageNotFound(String),
    #[error("{0}")]
    InvalidParameterValue(String),
    #[error("The request must contain the parameter {0}")]
    MissingParameter(String),
    #[error("{0}")]
    InvalidParameterCombination(String),
    #[error("The filter '{0}' is invalid")]
    InvalidFilter(String),
    #[error("The ID '{0}' is not valid")]
    InvalidId(String),
    #[error("User data is limited to 16384 bytes")]
    UserDataTooLarge,
    #[error("Invalid BASE64 encoding of user data.")]
    UserDataMalformed,
    #[error(
        "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
    )]
    IdempotentParameterMismatch,
    #[error("The maximum number of tags is 50")]
    TagLimitExceeded,
    #[error(
        "You have requested more instances ({0}) than localcloud runs at once ({1}). Raise --max-instances."
    )]
    InstanceLimitExceeded(usize, usize),
    #[error(
        "We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested ({zone}). Our system will be working on provisioning additional capacity."
    )]
    InsufficientCapacity { instance_type: String, zone: String },
    #[error("Insufficient capacity.")]
    InsufficientCapacityToStart,
    #[error(
        "You can't stop the Spot Instance '{0}' because it is associated with a one-time Spot Instance request. You can only stop Spot Instances associated with persistent Spot Instance requests."
    )]
    OneTimeSpot(String),
    #[error("Request limit exceeded.")]
    RequestLimitExceeded,
    #[error("You are not authorized to perform this operation.")]
    UnauthorizedOperation,
    #[error("Request would have succeeded, but DryRun flag is set.")]
    DryRunOperation,
    #[error("The action {0} is not valid for this web service.")]
    InvalidAction(String),
    #[error("localcloud is shutting down and starts no instances.")]
    ShuttingDown,
}

impl Ec2Error {
    /// Returns the error of a parameter with an invalid value.
    pub fn invalid(value: &str, name: &str) -> Self {
        Self::InvalidParameterValue(format!("Value ({value}) for parameter {name} is invalid."))
    }

    /// Returns EC2's code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::InstanceNotFound(_) => "InvalidInstanceID.NotFound",
            Self::InstanceMalformed(_) => "InvalidInstanceID.Malformed",
            Self::IncorrectInstanceState { .. } => "IncorrectInstanceState",
            Self::NotStopped(_) => "IncorrectInstanceState",
            Self::Protected { .. } => "OperationNotPermitted",
            Self::NoHibernation(_) => "UnsupportedHibernationConfiguration",
            Self::NotInterruptible { .. } | Self::UnsupportedOperation(_) => "UnsupportedOperation",
            Self::ImageMalformed(_) => "InvalidAMIID.Malformed",
            Self::ImageUnavailable(_) => "InvalidAMIID.Unavailable",
            Self::ImageNameTaken { .. } => "InvalidAMIName.Duplicate",
            Self::ImageNameMalformed => "InvalidAMIName.Malformed",
            Self::InvalidManifest(_) => "InvalidManifest",
            Self::InvalidInstanceType(_) => "InvalidInstanceType",
            Self::FilterLimitExceeded(_) => "FilterLimitExceeded",
            Self::ImageNotFound(_) => "InvalidAMIID.NotFound",
            Self::InvalidParameterValue(_) | Self::UserDataTooLarge | Self::InvalidFilter(_) => {
                "InvalidParameterValue"
            }
            Self::MissingParameter(_) => "MissingParameter",
            Self::InvalidParameterCombination(_) => "InvalidParameterCombination",
            Self::InvalidId(_) => "InvalidID",
            Self::UserDataMalformed => "InvalidUserData.Malformed",
            Self::IdempotentParameterMismatch => "IdempotentParameterMismatch",
            Self::TagLimitExceeded => "TagLimitExceeded",
            Self::InstanceLimitExceeded(..) => "InstanceLimitExceeded",
            Self::InsufficientCapacity { .. } | Self::InsufficientCapacityToStart => {
                "InsufficientInstanceCapacity"
            }
            Self::OneTimeSpot(_) => "UnsupportedOperation",
            Self::RequestLimitExceeded => "RequestLimitExceeded",
            Self::UnauthorizedOperation => "UnauthorizedOperation",
            Self::DryRunOperation => "DryRunOperation",
            Self::InvalidAction(_) => "InvalidAction",
            Self::ShuttingDown => "Unavailable",
        }
    }

    /// Returns the HTTP status that EC2 gives the error.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnauthorizedOperation => StatusCode::FORBIDDEN,
            Self::DryRunOperation => StatusCode::PRECONDITION_FAILED,
            Self::InsufficientCapacity { .. } | Self::InsufficientCapacityToStart => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::RequestLimitExceeded | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

fn plural(ids: &[String]) -> &'static str {
    if ids.len() == 1 { "" } else { "s" }
}
