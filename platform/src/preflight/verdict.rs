//! What a check finds.

use std::fmt;

use self::Verdict::{Fail, Fine, Warn};
use crate::aws;
use crate::fleet::FleetError;

/// The result of one check, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Fine(String),
    /// It works with a limit, or cannot be checked.
    Warn(String),
    Fail(String),
}

/// A check's name and verdict. Displays as a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub check: &'static str,
    pub verdict: Verdict,
}

/// Returns the verdict when EC2 refuses a call.
pub(super) fn refused(error: &FleetError) -> Verdict {
    let (code, fault) = (error.code().unwrap_or_default(), brief(error));
    let settings = [
        ("InvalidAMIID", "MUSTER_WORKER_IMAGE"),
        ("InvalidSubnet", "MUSTER_WORKER_SUBNET"),
        ("MissingInput", "MUSTER_WORKER_SUBNET"),
        ("InvalidGroup", "MUSTER_WORKER_SECURITY_GROUPS"),
        ("InvalidKeyPair", "MUSTER_WORKER_KEY"),
        ("InvalidInstanceType", "MUSTER_WORKER_INSTANCE_TYPE"),
        ("Unsupported", "MUSTER_WORKER_INSTANCE_TYPE"),
        ("InvalidBlockDeviceMapping", "MUSTER_WORKER_DISK_GB"),
        ("InvalidParameterValue", "MUSTER_WORKER_INSTANCE_PROFILE"),
    ];
    let says_nothing = [
        "",
        "AccessDeniedException",
        "InvalidAction",
        "NoSuchResourceException",
        "UnauthorizedOperation",
    ];
    if error.is_transient() || says_nothing.contains(&code) {
        return Warn(format!("not checked: {fault}"));
    }
    let setting = settings.iter().find(|(begin, _)| code.starts_with(begin));
    let mend = match setting {
        Some((_, setting)) => format!("check {setting}"),
        None if code.ends_with("LimitExceeded") || code.starts_with("MaxSpot") => {
            "request a higher quota in the Service Quotas console".to_owned()
        }
        None if code.starts_with("AuthFailure.ServiceLinkedRole") => {
            "run `aws iam create-service-linked-role --aws-service-name spot.amazonaws.com`"
                .to_owned()
        }
        None => "check the settings of workers".to_owned(),
    };
    Fail(format!("{fault}: {mend}"))
}

/// Returns the error in one line, without the parts that only programs read: an encoded message, which
/// `aws sts decode-authorization-message` decodes, and the SDK's structures.
pub(super) fn brief(error: &FleetError) -> String {
    let text = error.to_string();
    let words: Vec<_> = text.split_whitespace().collect();
    aws::brief(&words.join(" "))
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.verdict {
            Fine(text) => ("ok", text),
            Warn(text) => ("warn", text),
            Fail(text) => ("FAIL", text),
        };
        write!(f, "{word:<5} {}: {text}", self.check)
    }
}
