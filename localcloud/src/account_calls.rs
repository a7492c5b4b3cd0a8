//! The calls about the account itself: IAM's users, roles and policies, STS's identity and sessions, and CloudWatch's alarms,
//! in memory. The policies of roles are enforced by `iam`, those of users are only listed.
//!
//! | module | does |
//! |---|---|
//! | `users`, `roles`, `policies`, `alarms` | the state and its actions; requests and replies are JSON values; pure |
//! | `assume` | STS's AssumeRole |
//! | `query` | translates forms to requests, and replies to XML |

mod alarms;
mod assume;
mod policies;
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
use crate::config::UserConfig;
use crate::iam::{Access, Caller, Iam, iam_arn};
use crate::logs::{self, Logs};
use crate::protocol::AwsService;
use alarms::Alarms;
use policies::Policies;
use roles::{Context, Roles};
use users::Users;

pub use query::{document, request_of_form};

/// The actions of the three services.
pub const IAM_ACTIONS: [&str; 22] = [
    "AttachRolePolicy",
    "AttachUserPolicy",
    "CreatePolicy",
    "CreateRole",
    "CreateUser",
    "DeletePolicy",
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
    "ListPolicies",
    "ListRolePolicies",
    "ListRoles",
    "PutRolePolicy",
    "UpdateAssumeRolePolicy",
];
pub const STS_ACTIONS: [&str; 2] = ["AssumeRole", "GetCallerIdentity"];
pub const CLOUDWATCH_ACTIONS: [&str; 9] = [
    "DeleteAlarms",
    "DescribeAlarms",
    "DescribeAlarmsForMetric",
    "GetMetricData",
    "GetMetricStatistics",
    "ListMetrics",
    "PutMetricAlarm",
    "PutMetricData",
    "SetAlarmState",
];

/// The users and the alarms of the account.
#[derive(Debug)]
pub struct AccountCalls {
    clock: Clock,
    region: String,
    dependencies: AccountDependencies,
    state: Mutex<AccountState>,
}

#[derive(Debug, Default)]
struct AccountState {
    users: Users,
    roles: Roles,
    policies: Policies,
    alarms: Alarms,
}

/// What the calls share with other services.
#[derive(Debug)]
pub struct AccountDependencies {
    pub iam: Arc<Iam>,
    pub metrics: Arc<Metrics>,
    pub logs: Arc<Logs>,
}

/// The reply to a call, or an error in AWS's terms.
type AccountResult = Result<Value, CommonError>;

impl AccountCalls {
    /// Returns an account with these users, and with alarms that are given as the parameters of PutMetricAlarm.
    ///
    /// # Errors
    /// When a user or an alarm would be refused by its call.
    pub fn new(
        clock: Clock,
        region: &str,
        dependencies: AccountDependencies,
        users: &[UserConfig],
        alarms: &[Value],
    ) -> Result<Self, CommonError> {
        let mut state = AccountState::default();
        let now = clock.now();
        for user in users {
            state.users.add(user, &state.policies, now)?;
        }
        for alarm in alarms {
            state.alarms.put(alarm, region, now)?;
        }
        Ok(Self {
            clock,
            region: region.to_owned(),
            dependencies,
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
    ) -> AccountResult {
        match service {
            AwsService::Logs => return self.dependencies.logs.call(action, request),
            AwsService::CloudWatch => {
                if let Some(reply) = self.dependencies.metrics.call(action, request) {
                    return reply;
                }
            }
            _ => {}
        }
        let now = self.clock.now();
        let mut state = self.lock();
        let AccountState {
            users,
            roles,
            policies,
            alarms,
        } = &mut *state;
        if service == AwsService::Iam {
            let iam = &self.dependencies.iam;
            let context = Context { iam, policies, now };
            if let Some(reply) = roles.call(action, request, &context) {
                return reply;
            }
        }
        let attachments = |arn: &str| users.attachments(arn) + roles.attachments(arn);
        match (service, action) {
            (AwsService::Sts, "GetCallerIdentity") => Ok(identity(caller)),
            (AwsService::Sts, "AssumeRole") => {
                assume::role(request, caller, &self.dependencies.iam, roles)
            }
            (AwsService::Iam, "GetUser") if request["UserName"].is_null() => {
                Ok(json!({ "User": own_user(caller) }))
            }
            (AwsService::Iam, "GetUser") => users.get(request),
            (AwsService::Iam, "CreateUser") => users.create(request, now),
            (AwsService::Iam, "DeleteUser") => users.delete(request),
            (AwsService::Iam, "AttachUserPolicy") => users.attach(request, policies),
            (AwsService::Iam, "DetachUserPolicy") => users.detach(request),
            (AwsService::Iam, "ListAttachedUserPolicies") => users.list_attached(request),
            (AwsService::Iam, "CreatePolicy") => policies.create(request, now),
            (AwsService::Iam, "DeletePolicy") => policies.delete(request, attachments),
            (AwsService::Iam, "GetPolicy") => policies.get(request, attachments),
            (AwsService::Iam, "ListPolicies") => policies.list(request, attachments),
            (AwsService::CloudWatch, "PutMetricAlarm") => alarms.put(request, &self.region, now),
            (AwsService::CloudWatch, "DescribeAlarms") => {
                alarms.evaluate(&self.dependencies.metrics, now);
                alarms.describe(request)
            }
            (AwsService::CloudWatch, "DescribeAlarmsForMetric") => {
                alarms.evaluate(&self.dependencies.metrics, now);
                alarms.describe_for_metric(request)
            }
            (AwsService::CloudWatch, "SetAlarmState") => alarms.set_state(request, now),
            (AwsService::CloudWatch, "DeleteAlarms") => alarms.delete(request),
            _ => Err(unknown(service, action)),
        }
    }

    /// Returns the accesses that a call needs; none for a call that every caller may make.
    pub fn accesses(&self, service: AwsService, action: &str, request: &Value) -> Vec<Access> {
        match service {
            AwsService::Iam => {
                let text = |name: &str| request[name].as_str();
                let resource = if action.contains("Role") {
                    iam_arn("role", text("RoleName").unwrap_or("*"))
                } else if action.contains("User") {
                    iam_arn("user", text("UserName").unwrap_or("*"))
                } else {
                    let named = || iam_arn("policy", text("PolicyName").unwrap_or("*"));
                    text("PolicyArn").map_or_else(named, str::to_owned)
                };
                vec![Access::new(format!("iam:{action}"), resource)]
            }
            AwsService::Sts if action == "AssumeRole" => {
                vec![assume::access(request, &self.dependencies.iam)]
            }
            AwsService::Logs => {
                let resource = logs::access_arn(&self.region, request);
                vec![Access::new(format!("logs:{action}"), resource)]
            }
            AwsService::CloudWatch => {
                let on = |resource: String| Access::new(format!("cloudwatch:{action}"), resource);
                let of_alarm = |name: &str| on(alarms::arn(&self.region, name));
                let alarm = match action {
                    "GetMetricData" | "GetMetricStatistics" | "ListMetrics" | "PutMetricData" => {
                        return vec![on("*".to_owned())];
                    }
                    "PutMetricAlarm" | "SetAlarmState" => request["AlarmName"].as_str(),
                    "DeleteAlarms" => {
                        let names = request["AlarmNames"].as_array().into_iter().flatten();
                        let names: Vec<&str> = names.filter_map(Value::as_str).collect();
                        if !names.is_empty() {
                            return names.into_iter().map(of_alarm).collect();
                        }
                        None
                    }
                    _ => None,
                };
                vec![of_alarm(alarm.unwrap_or("*"))]
            }
            _ => Vec::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, AccountState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity(caller: &Caller) -> Value {
    let (user_id, arn) = match caller {
        Caller::Account => (ACCOUNT_ID.to_owned(), root_arn()),
        Caller::Role(session) => (session.id(), session.arn()),
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
