//! AssumeRole: temporary credentials of a role. The account's own key may assume every role, a role those that its policies
//! allow. The trust policies of roles are stored, and not evaluated.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::roles::Roles;
use super::{AccountResult, epoch_seconds, identity, invalid, required, whole_number};
use crate::common_error::CommonError;
use crate::iam::{Access, Caller, Iam, iam_arn};

const DEFAULT_SECONDS: usize = 3600;
/// For a caller who assumed a role before.
const MAX_CHAINED_SECONDS: usize = 3600;
/// What would restrict or tag a session.
const NOT_SUPPORTED: [&str; 3] = ["Policy", "PolicyArns", "Tags"];

/// Returns the access that assumes a role. The path in an ARN does not tell roles apart.
pub fn access(request: &Value, iam: &Iam) -> Access {
    let arn = request["RoleArn"].as_str().unwrap_or("*");
    let role = iam.role_named(arn);
    let arn = role.map_or_else(|| arn.to_owned(), |role| iam_arn("role", &role.name));
    Access::new("sts:AssumeRole", arn)
}

/// Begins a session, and returns its credentials.
///
/// # Errors
/// `AccessDenied` without such a role; `ValidationError`.
pub fn role(request: &Value, caller: &Caller, iam: &Iam, roles: &Roles) -> AccountResult {
    let arn = required(request, "RoleArn")?;
    let name = required(request, "RoleSessionName")?;
    let is_letter = |it: u8| it.is_ascii_alphanumeric() || b"_+=,.@-".contains(&it);
    if !(2..=64).contains(&name.len()) || !name.bytes().all(is_letter) {
        return Err(invalid(format!(
            "1 validation error detected: Value '{name}' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]{{2,64}}"
        )));
    }
    if let Some(name) = NOT_SUPPORTED
        .into_iter()
        .find(|name| !request[*name].is_null())
    {
        return Err(invalid(format!(
            "localcloud's sessions have the policies of their role: leave out {name}."
        )));
    }
    let named = iam.role_named(arn).filter(|_| arn.starts_with("arn:"));
    let role = named.ok_or_else(|| {
        let identity = identity(caller);
        let user = identity["Arn"].as_str().unwrap_or_default();
        let message =
            format!("User: {user} is not authorized to perform: sts:AssumeRole on resource: {arn}");
        CommonError::new("AccessDenied", StatusCode::FORBIDDEN, message)
    })?;
    let seconds = whole_number(request, "DurationSeconds")?.unwrap_or(DEFAULT_SECONDS);
    let most = match caller {
        Caller::Account => roles.session_seconds(&role.name),
        Caller::Role(_) => MAX_CHAINED_SECONDS,
    };
    if !(900..=most).contains(&seconds) {
        return Err(invalid(format!(
            "The requested DurationSeconds is not from 900 to {most}, the most that this role and caller may have."
        )));
    }
    let session = iam.assume(&role, name, Duration::from_secs(seconds as u64));
    let credentials = &session.credentials;
    Ok(json!({
        "AssumedRoleUser": { "AssumedRoleId": session.id(), "Arn": session.arn() },
        "Credentials": {
            "AccessKeyId": credentials.access_key,
            "SecretAccessKey": credentials.secret_key,
            "SessionToken": credentials.token,
            "Expiration": epoch_seconds(credentials.expires),
        },
    }))
}
