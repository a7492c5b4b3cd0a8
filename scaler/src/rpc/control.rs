//! Changes of the policy while the scaler runs.

use std::sync::Arc;
use std::time::Duration;

use platform::fleet::Market;
use proto::v1::{PauseRequest, SetBoundsRequest, set_bounds_request::Budget};
use tokio::sync::watch;
use tonic::Status;

use crate::decision_log::{ActivePolicy, Decision, DecisionLog};
use crate::plan::{Bounds, Policy};

/// How long a change may take to reach the reconciler. It takes milliseconds unless the reconciler hangs.
pub const EFFECT_DEADLINE: Duration = Duration::from_secs(5);
/// A longer cooldown is taken for a mistake.
const LONGEST_COOLDOWN: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST_NAME: usize = 100;

/// Changes the policy unless `change` refuses, and waits until `deadline` for the first decision under it.
///
/// # Errors
/// The refusal of `change`; FAILED_PRECONDITION when the scaler stands by; UNAVAILABLE when no decision follows in time.
pub async fn change(
    active: &watch::Sender<ActivePolicy>,
    log: &DecisionLog,
    deadline: Duration,
    change: impl FnOnce(&mut Policy) -> Result<(), Status>,
) -> Result<Arc<Decision>, Status> {
    let mut decisions = log.latest.subscribe();
    let mut changed = Ok(0);
    active.send_if_modified(|active| {
        let mut policy = Policy::clone(&active.policy);
        changed = change(&mut policy).map(|()| {
            active.version += 1;
            active.policy = Arc::new(policy);
            active.version
        });
        changed.is_ok()
    });
    let version = changed?;
    let in_force = decisions.wait_for(|it| it.active.version >= version);
    match tokio::time::timeout(deadline, in_force).await {
        Ok(Ok(decision)) => match &decision.standing_by {
            // The scaler lost the lease meanwhile.
            Some(why) => Err(refuse_as_standby(why)),
            None => Ok(Arc::clone(&decision)),
        },
        Ok(Err(_)) | Err(_) => Err(Status::unavailable(
            "the change is stored, but the scaler makes no decisions at present: see its log",
        )),
    }
}

/// Returns the refusal of a scaler that stands by.
pub fn refuse_as_standby(why: &str) -> Status {
    Status::failed_precondition(format!(
        "this scaler stands by and permits no changes: {why}; send the request to the scaler that leads"
    ))
}

/// Applies the bounds that the request gives. `market` is how instances are bought, `price_per_hour` what one costs.
///
/// # Errors
/// INVALID_ARGUMENT when the request gives no bound, or the bounds contradict each other, the market or the price.
pub fn set_bounds(
    bounds: &mut Bounds,
    request: &SetBoundsRequest,
    market: Market,
    price_per_hour: f64,
) -> Result<(), Status> {
    let before = *bounds;
    let invalid = |message: String| Err(Status::invalid_argument(message));
    if *request == SetBoundsRequest::default() {
        return invalid("the request gives no bound".to_owned());
    }
    let budget_per_hour = match request.budget {
        None => before.budget_per_hour,
        Some(Budget::BudgetPerHour(dollars)) if dollars.is_finite() && dollars > 0.0 => {
            Some(dollars)
        }
        Some(Budget::BudgetPerHour(dollars)) => {
            return invalid(format!(
                "a budget of {dollars} dollars an hour is not above zero; to run no worker, set the maximum to 0"
            ));
        }
        Some(Budget::NoBudget(true)) => None,
        Some(Budget::NoBudget(false)) => {
            return invalid("`no_budget` must be true or absent".to_owned());
        }
    };
    let changed = Bounds {
        min_workers: request.min_workers.unwrap_or(before.min_workers),
        max_workers: request.max_workers.unwrap_or(before.max_workers),
        budget_per_hour,
        warm_pool: request.warm_pool.unwrap_or(before.warm_pool),
        scale_out_cooldown: cooldown(request.scale_out_cooldown, before.scale_out_cooldown)?,
        scale_in_cooldown: cooldown(request.scale_in_cooldown, before.scale_in_cooldown)?,
    };
    let Bounds {
        min_workers,
        max_workers,
        ..
    } = changed;
    if min_workers > max_workers {
        return invalid(format!(
            "the minimum of {min_workers} workers exceeds the maximum of {max_workers}"
        ));
    }
    if changed.afford_none(price_per_hour) {
        return invalid(format!(
            "the budget pays for no worker, since one costs {price_per_hour} dollars an hour: raise it, or set the maximum to 0"
        ));
    }
    if changed.warm_pool > 0 && market == Market::Spot {
        return invalid(
            "a warm pool needs instances that can be stopped, and spot instances cannot: set it to 0"
                .to_owned(),
        );
    }
    *bounds = changed;
    Ok(())
}

/// Returns the name to record as having paused scaling.
pub fn paused_by(request: PauseRequest) -> Result<String, Status> {
    let by = request.by.trim();
    if by.chars().count() > LONGEST_NAME || by.chars().any(char::is_control) {
        return Err(Status::invalid_argument(format!(
            "`by` must be a name of at most {LONGEST_NAME} characters without control characters"
        )));
    }
    Ok(if by.is_empty() { "somebody" } else { by }.to_owned())
}

fn cooldown(given: Option<prost_types::Duration>, before: Duration) -> Result<Duration, Status> {
    let Some(given) = given else {
        return Ok(before);
    };
    let given = Duration::try_from(given).ok();
    given
        .filter(|given| *given <= LONGEST_COOLDOWN)
        .ok_or_else(|| Status::invalid_argument("a cooldown must be between 0 and 24 hours"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: f64 = 0.1;

    fn changed(request: SetBoundsRequest) -> Result<Bounds, Status> {
        let mut bounds = Bounds {
            min_workers: 2,
            max_workers: 5,
            budget_per_hour: Some(1.0),
            ..Bounds::default()
        };
        set_bounds(&mut bounds, &request, Market::OnDemand, PRICE).map(|()| bounds)
    }

    fn active_policy_and_log() -> (watch::Sender<ActivePolicy>, DecisionLog) {
        let active = ActivePolicy::default();
        (watch::Sender::new(active.clone()), DecisionLog::new(active))
    }

    fn request() -> SetBoundsRequest {
        SetBoundsRequest::default()
    }

    #[test]
    fn only_the_given_bounds_change() {
        let bounds = changed(SetBoundsRequest {
            max_workers: Some(9),
            ..request()
        })
        .unwrap();
        assert_eq!((bounds.min_workers, bounds.max_workers), (2, 9));
        assert_eq!(bounds.budget_per_hour, Some(1.0));
        let bounds = changed(SetBoundsRequest {
            min_workers: Some(0),
            budget: Some(Budget::NoBudget(true)),
            scale_in_cooldown: Some(prost_types::Duration {
                seconds: 3,
                nanos: 5,
            }),
            ..request()
        })
        .unwrap();
        assert_eq!((bounds.min_workers, bounds.max_workers), (0, 5));
        assert_eq!(bounds.budget_per_hour, None);
        assert_eq!(bounds.scale_in_cooldown, Duration::new(3, 5));
    }

    #[test]
    fn contradictions_are_refused() {
        let seconds = |seconds| prost_types::Duration { seconds, nanos: 0 };
        let wrong = [
            request(),
            SetBoundsRequest {
                max_workers: Some(1),
                ..request()
            },
            SetBoundsRequest {
                min_workers: Some(6),
                ..request()
            },
            SetBoundsRequest {
                budget: Some(Budget::BudgetPerHour(0.0)),
                ..request()
            },
            SetBoundsRequest {
                budget: Some(Budget::BudgetPerHour(0.09)),
                ..request()
            },
            SetBoundsRequest {
                budget: Some(Budget::BudgetPerHour(f64::NAN)),
                ..request()
            },
            SetBoundsRequest {
                budget: Some(Budget::NoBudget(false)),
                ..request()
            },
            SetBoundsRequest {
                scale_out_cooldown: Some(seconds(-1)),
                ..request()
            },
            SetBoundsRequest {
                scale_out_cooldown: Some(seconds(86_401)),
                ..request()
            },
        ];
        for request in wrong {
            let refused = changed(request).unwrap_err();
            assert_eq!(
                refused.code(),
                tonic::Code::InvalidArgument,
                "{request:?} {refused}"
            );
        }
    }

    /// Spot instances would be launched and terminated forever.
    #[test]
    fn a_warm_pool_of_spot_instances_is_refused() {
        let mut bounds = Bounds::default();
        let warm_pool = Some(1);
        let refused = set_bounds(
            &mut bounds,
            &SetBoundsRequest {
                warm_pool,
                ..request()
            },
            Market::Spot,
            PRICE,
        );
        assert_eq!(refused.unwrap_err().code(), tonic::Code::InvalidArgument);
        assert_eq!(bounds.warm_pool, 0);
        let max_workers = Some(7);
        let other = SetBoundsRequest {
            max_workers,
            ..request()
        };
        assert!(set_bounds(&mut bounds, &other, Market::Spot, PRICE).is_ok());
    }

    #[test]
    fn a_pause_needs_a_name_without_control_characters() {
        let by = |by: &str| paused_by(PauseRequest { by: by.to_owned() });
        assert_eq!(by(" ops ").unwrap(), "ops");
        assert_eq!(by("").unwrap(), "somebody");
        assert!(by("a\nb").is_err());
        assert!(by(&"x".repeat(101)).is_err());
    }

    #[tokio::test]
    async fn a_change_is_refused_when_the_scaler_has_just_lost_the_lease() {
        let (active, log) = active_policy_and_log();
        let next = Decision {
            active: ActivePolicy {
                version: 1,
                ..ActivePolicy::default()
            },
            standing_by: Some("10.0.0.9:50052 leads".to_owned()),
            ..Decision::clone(&log.latest.borrow())
        };
        let pausing = change(&active, &log, EFFECT_DEADLINE, |_| {
            log.publish(next);
            Ok(())
        });
        let refused = pausing.await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
        assert!(refused.message().contains("10.0.0.9:50052"), "{refused}");
    }

    #[tokio::test]
    async fn a_change_without_a_decision_in_time_is_unavailable() {
        let (active, log) = active_policy_and_log();
        let waited = change(&active, &log, Duration::ZERO, |_| Ok(())).await;
        assert_eq!(waited.unwrap_err().code(), tonic::Code::Unavailable);
        assert_eq!(active.borrow().version, 1);
        let refuse = |_: &mut Policy| Err(Status::invalid_argument(""));
        let refused = change(&active, &log, Duration::ZERO, refuse).await;
        assert_eq!(refused.unwrap_err().code(), tonic::Code::InvalidArgument);
        assert_eq!(active.borrow().version, 1);
    }
}
