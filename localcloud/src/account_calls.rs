//! The calls about the account itself: IAM's users and roles, STS's caller identity, CloudWatch's metrics and alarms. Nothing here
//! is enforced, and no alarm is ever evaluated: the state is what clients and the configuration put there, in memory.
//!
//! | module | does |
//! |---|---|
//! | `users`, `roles`, `alarms`, `metrics` | the state and its actions; requests and replies are JSON values; pure |
//! | `query` | translates forms to requests, and replies to XML |

mod alarms;
mod metrics;
mod query;
mod roles;
#[cfg(test)]
mod tests;
mod users;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::StatusCode;
use serde_json::{Value, json};

use crate::account::ACCOUNT_ID;
use crate::clock::{Clock, Millis};
use crate::cloudwatch::Metrics;
use crate::common_error::CommonError;
use crate::config::User;
use crate::iam::{Access, Caller, iam_arn};
use crate::protocol::{AwsService, Protocol};
use alarms::Alarms;
use roles::Roles;
use users::Users;

pub use query::{document, error_document, request_of_form};

/// The actions of the three services.
pub const IAM_ACTIONS: [&str; 18] = [
    "AttachRolePolicy",
    "AttachUserPolicy",
    "CreateRole",
    "CreateUser",
    "DeleteRole",
    "DeleteRolePolicy",
    "DeleteUser",
    "DetachRolePolicy",
    "DetachUserPolicy",
    "GetPolicy",
    "GetRole",
    "GetRolePolicy",
    "GetUser",
    "ListAttachedRolePolicies",
    "ListAttachedUserPolicies",
    "ListRolePolicies",
    "ListRoles",
    "PutRolePolicy",
];
pub const STS_ACTIONS: [&str; 1] = ["GetCallerIdentity"];
pub const CLOUDWATCH_ACTIONS: [&str; 7] = [
    "DeleteAlarms",
    "DescribeAlarms",
    "GetMetricData",
    "GetMetricStatistics",
    "ListMetrics",
    "PutMetricAlarm",
    "PutMetricData",
];

/// The users and the alarms of the account.
#[derive(Debug)]
pub struct AccountCalls {
    clock: Clock,
    region: String,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    users: Users,
    roles: Roles,
    alarms: Alarms,
}

/// The reply to a call, or an error in AWS's terms.
type Reply = Result<Value, CommonError>;

impl AccountCalls {
    /// Returns an account with these users, and with alarms that are given as the parameters of PutMetricAlarm.
    ///
    /// # Errors
    /// When a user or an alarm would be refused by its call.
    pub fn new(
        clock: Clock,
        region: &str,
        users: &[User],
        alarms: &[Value],
        metrics: Arc<Metrics>,
    ) -> Result<Self, CommonError> {
        let mut state = State::default();
        let now = clock.now();
        for user in users {
            state.users.add(user, now)?;
        }
        for alarm in alarms {
            state.alarms.put(alarm, region, now)?;
        }
        Ok(Self {
            clock,
            region: region.to_owned(),
            metrics,
            state: Mutex::new(state),
        })
    }

    /// Handles one call. The reply is the result as JSON.
    ///
    /// # Errors
    /// The service's error; `InvalidAction` for an action that it does not have here.
    pub fn call(
        &self,
        service: AwsService,
        action: &str,
        request: &Value,
        caller: &Caller,
    ) -> Reply {
        let now = self.clock.now();
        let mut state = self.lock();
        let State {
            users,
            roles,
            alarms,
        } = &mut *state;
        let metrics = &*self.metrics;
        match (service, action) {
            (AwsService::Sts, "GetCallerIdentity") => Ok(identity(caller)),
            (AwsService::Iam, "GetUser") if request["UserName"].is_null() => {
                Ok(json!({ "User": own_user(caller) }))
            }
            (AwsService::Iam, "GetUser") => users.get(request),
            (AwsService::Iam, "CreateUser") => users.create(request, now),
            (AwsService::Iam, "DeleteUser") => users.delete(request),
            (AwsService::Iam, "AttachUserPolicy") => users.attach(request),
            (AwsService::Iam, "DetachUserPolicy") => users.detach(request),
            (AwsService::Iam, "ListAttachedUserPolicies") => users.list_attached(request),
            (AwsService::Iam, "CreateRole") => roles.create(request, now),
            (AwsService::Iam, "GetRole") => roles.get(request),
            (AwsService::Iam, "ListRoles") => roles.list(),
            (AwsService::Iam, "DeleteRole") => roles.delete(request),
            (AwsService::Iam, "PutRolePolicy") => roles.put_policy(request),
            (AwsService::Iam, "GetRolePolicy") => roles.get_policy(request),
            (AwsService::Iam, "DeleteRolePolicy") => roles.delete_policy(request),
            (AwsService::Iam, "ListRolePolicies") => roles.list_policies(request),
            (AwsService::Iam, "AttachRolePolicy") => roles.attach(request),
            (AwsService::Iam, "DetachRolePolicy") => roles.detach(request),
            (AwsService::Iam, "ListAttachedRolePolicies") => roles.list_attached(request),
            (AwsService::Iam, "GetPolicy") => roles::get_managed_policy(request),
            (AwsService::CloudWatch, "GetMetricStatistics") => {
                metrics::statistics(metrics, request)
            }
            (AwsService::CloudWatch, "GetMetricData") => metrics::data(metrics, request),
            (AwsService::CloudWatch, "ListMetrics") => metrics::list_metrics(metrics, request),
            (AwsService::CloudWatch, "PutMetricData") => metrics::put_data(metrics, request, now),
            (AwsService::CloudWatch, "PutMetricAlarm") => alarms.put(request, &self.region, now),
            (AwsService::CloudWatch, "DescribeAlarms") => alarms.describe(request),
            (AwsService::CloudWatch, "DeleteAlarms") => alarms.delete(request),
            _ => Err(unknown(service, action)),
        }
    }

    /// Returns the access that a call needs; `None` for a call that every caller may make.
    pub fn access(&self, service: AwsService, action: &str, request: &Value) -> Option<Access> {
        match service {
            AwsService::Iam => {
                let resource = match (&request["RoleName"], &request["PolicyArn"]) {
                    (Value::String(role), _) => iam_arn("role", role),
                    (_, Value::String(policy)) if action == "GetPolicy" => policy.clone(),
                    _ if action == "ListRoles" => iam_arn("role", ""),
                    _ => iam_arn("user", request["UserName"].as_str().unwrap_or("*")),
                };
                Some(Access::new(format!("iam:{action}"), resource))
            }
            AwsService::CloudWatch => {
                // Metrics have no resources of their own.
                if !action.contains("Alarm") {
                    return Some(Access::new(format!("cloudwatch:{action}"), "*".to_owned()));
                }
                let alarm = match action {
                    "PutMetricAlarm" => request["AlarmName"].as_str(),
                    "DeleteAlarms" => request["AlarmNames"][0].as_str(),
                    _ => None,
                };
                let resource = alarms::arn(&self.region, alarm.unwrap_or("*"));
                Some(Access::new(format!("cloudwatch:{action}"), resource))
            }
            _ => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the XML namespace of a service's query protocol.
pub fn namespace(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
        Protocol::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
        _ => "http://monitoring.amazonaws.com/doc/2010-08-01/",
    }
}

fn identity(caller: &Caller) -> Value {
    let (user_id, arn) = match caller {
        Caller::Account => (ACCOUNT_ID.to_owned(), root_arn()),
        Caller::Role(session) => {
            let user_id = format!("{}:{}", session.role.id(), session.instance_id);
            (user_id, session.arn())
        }
    };
    json!({ "UserId": user_id, "Account": ACCOUNT_ID, "Arn": arn })
}

/// Returns the user whose key signed the call: the account's own key is the root user's.
fn own_user(caller: &Caller) -> Value {
    let identity = identity(caller);
    json!({ "UserId": identity["UserId"], "Arn": identity["Arn"], "Path": "/", "CreateDate": 0 })
}

fn root_arn() -> String {
    format!("arn:aws:iam::{ACCOUNT_ID}:root")
}

fn unknown(service: AwsService, action: &str) -> CommonError {
    let message = format!("localcloud has no action {action:?} of {}.", service.name());
    CommonError::new("InvalidAction", StatusCode::BAD_REQUEST, message)
}

fn invalid(message: impl Into<String>) -> CommonError {
    CommonError::new("ValidationError", StatusCode::BAD_REQUEST, message)
}

/// Returns a text of a request.
///
/// # Errors
/// `ValidationError` when it is missing or empty.
fn required<'a>(request: &'a Value, name: &str) -> Result<&'a str, CommonError> {
    let text = request[name].as_str().filter(|text| !text.is_empty());
    text.ok_or_else(|| invalid(format!("The parameter {name} is required.")))
}

/// Returns a whole number of a request, which a form writes as a text.
///
/// # Errors
/// `ValidationError` when it is neither.
fn whole_number(request: &Value, name: &str) -> Result<Option<usize>, CommonError> {
    let value = &request[name];
    let number = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.parse().ok(),
        other => other.as_u64().and_then(|number| number.try_into().ok()),
    };
    let refused = || invalid(format!("The parameter {name} is not a whole number."));
    number.map(Some).ok_or_else(refused)
}

/// Returns a time as JSON has it: seconds since the Unix epoch.
fn epoch_seconds(at: Millis) -> f64 {
    at as f64 / 1e3
}
