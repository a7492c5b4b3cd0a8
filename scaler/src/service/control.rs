//! What people may change while the scaler runs.

use std::sync::Arc;
use std::time::Duration;

use platform::fleet::Market;
use proto::v1::{PauseRequest, SetBoundsRequest, set_bounds_request::Budget};
use tokio::sync::watch;
use tonic::Status;

use crate::board::{Board, Decision, Settings};
use crate::plan::{Bounds, Policy};

/// How long a change may take to reach the loop. It takes milliseconds unless the loop does not plan at all.
pub const EFFECT_DEADLINE: Duration = Duration::from_secs(5);
/// A cooldown that is longer is a slip of the pen.
const LONGEST_COOLDOWN: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST_NAME: usize = 100;

/// Changes the settings unless `change` refuses, and waits until `deadline` has passed for the first decision made by them.
pub async fn change(
    settings: &watch::Sender<Settings>,
    board: &Board,
    deadline: Duration,
    change: impl FnOnce(&mut Policy) -> Result<(), Status>,
) -> Result<Arc<Decision>, Status> {
    let mut decisions = board.latest.subscribe();
    let mut changed = Ok(0);
    settings.send_if_modified(|settings| {
        let mut policy = Policy::clone(&settings.policy);
        changed = change(&mut policy).map(|()| {
            settings.version += 1;
            settings.policy = Arc::new(policy);
            settings.version
        });
        changed.is_ok()
    });
    let version = changed?;
    let in_force = decisions.wait_for(|it| it.settings.version >= version);
    match tokio::time::timeout(deadline, in_force).await {
        Ok(Ok(decision)) => match &decision.standing_by {
            // It lost the lease meanwhile.
            Some(why) => Err(stands_by(why)),
            None => Ok(Arc::clone(&decision)),
        },
        Ok(Err(_)) | Err(_) => Err(Status::unavailable(
            "the change is noted, but the scaler makes no decisions at present",
        )),
    }
}

/// The refusal of a scaler that another one leads.
pub fn stands_by(why: &str) -> Status {
    Status::failed_precondition(format!(
        "it stands by and takes no orders: {why}; give the order to the scaler that leads"
    ))
}

/// Changes what the request gives, for instances that are bought on `market`.
pub fn set_bounds(
    bounds: &mut Bounds,
    request: &SetBoundsRequest,
    market: Market,
) -> Result<(), Status> {
    let before = *bounds;
    let invalid = |message: String| Err(Status::invalid_argument(message));
    if *request == SetBoundsRequest::default() {
        return invalid("no bound is given".to_owned());
    }
    let budget_per_hour = match request.budget {
        None => before.budget_per_hour,
        Some(Budget::BudgetPerHour(dollars)) if dollars.is_finite() && dollars > 0.0 => {
            Some(dollars)
        }
        Some(Budget::BudgetPerHour(dollars)) => {
            return invalid(format!(
                "a budget of {dollars} dollars an hour allows no worker; to keep all off, set the maximum to 0"
            ));
        }
        Some(Budget::NoBudget(true)) => None,
        Some(Budget::NoBudget(false)) => {
            return invalid("`no_budget` is true or absent".to_owned());
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
    if changed.warm_pool > 0 && market == Market::Spot {
        return invalid(
            "spot instances cannot be stopped and kept ready, so there is no warm pool of them"
                .to_owned(),
        );
    }
    *bounds = changed;
    Ok(())
}

/// The name of who pauses.
pub fn pauser(request: PauseRequest) -> Result<String, Status> {
    let by = request.by.trim();
    if by.chars().count() > LONGEST_NAME || by.chars().any(char::is_control) {
        return Err(Status::invalid_argument(format!(
            "`by` is a name of at most {LONGEST_NAME} characters, none of them a control character"
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
        .ok_or_else(|| Status::invalid_argument("a cooldown is between 0 and 24 hours"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(request: SetBoundsRequest) -> Result<Bounds, Status> {
        let mut bounds = Bounds {
            min_workers: 2,
            max_workers: 5,
            budget_per_hour: Some(1.0),
            ..Bounds::default()
        };
        set_bounds(&mut bounds, &request, Market::OnDemand).map(|()| bounds)
    }

    fn request() -> SetBoundsRequest {
        SetBoundsRequest::default()
    }

    #[test]
    fn only_what_is_given_changes() {
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

    /// They would be launched and terminated for ever.
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
        );
        assert_eq!(refused.unwrap_err().code(), tonic::Code::InvalidArgument);
        assert_eq!(bounds.warm_pool, 0);
        let max_workers = Some(7);
        let other = SetBoundsRequest {
            max_workers,
            ..request()
        };
        assert!(set_bounds(&mut bounds, &other, Market::Spot).is_ok());
    }

    #[test]
    fn who_pauses_has_a_name_without_control_characters() {
        let by = |by: &str| pauser(PauseRequest { by: by.to_owned() });
        assert_eq!(by(" ops ").unwrap(), "ops");
        assert_eq!(by("").unwrap(), "somebody");
        assert!(by("a\nb").is_err());
        assert!(by(&"x".repeat(101)).is_err());
    }

    #[tokio::test]
    async fn a_change_that_reaches_a_scaler_which_just_lost_the_lease_is_refused() {
        let (settings, board) = (
            watch::Sender::new(Settings::default()),
            Board::new(Settings::default()),
        );
        let next = Decision {
            settings: Settings {
                version: 1,
                ..Settings::default()
            },
            standing_by: Some("10.0.0.9:50052 leads".to_owned()),
            ..Decision::clone(&board.latest.borrow())
        };
        let pausing = change(&settings, &board, EFFECT_DEADLINE, |_| {
            board.publish(next);
            Ok(())
        });
        let refused = pausing.await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
        assert!(refused.message().contains("10.0.0.9:50052"), "{refused}");
    }

    #[tokio::test]
    async fn a_change_that_no_decision_follows_is_said_to_be_only_noted() {
        let (settings, board) = (
            watch::Sender::new(Settings::default()),
            Board::new(Settings::default()),
        );
        let waited = change(&settings, &board, Duration::ZERO, |_| Ok(())).await;
        assert_eq!(waited.unwrap_err().code(), tonic::Code::Unavailable);
        assert_eq!(settings.borrow().version, 1);
        let refuse = |_: &mut Policy| Err(Status::invalid_argument(""));
        let refused = change(&settings, &board, Duration::ZERO, refuse).await;
        assert_eq!(refused.unwrap_err().code(), tonic::Code::InvalidArgument);
        assert_eq!(settings.borrow().version, 1);
    }
}
