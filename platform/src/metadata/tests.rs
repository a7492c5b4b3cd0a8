use std::time::UNIX_EPOCH;

use super::*;

/// 21 Jan 2019 09:00:43 GMT
const EVENT_AT: u64 = 1_548_061_243;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn notice(action: InterruptionAction, seconds: u64) -> Interruption {
    Interruption {
        action: action.into(),
        at: Some(at(seconds).into()),
    }
}

/// Returns a list of one event, as EC2's user guide shows it.
fn event(code: &str, state: &str) -> String {
    format!(
        r#"[ {{
    "NotBefore" : "21 Jan 2019 09:00:43 GMT",
    "Code" : "{code}",
    "Description" : "scheduled event",
    "EventId" : "instance-event-0d59937288b749b32",
    "NotAfter" : "21 Jan 2019 09:17:23 GMT",
    "State" : "{state}"
}} ]"#
    )
}

#[test]
fn a_spot_notice_has_an_action_and_a_time() {
    let cases = [
        ("stop", InterruptionAction::Stop),
        ("terminate", InterruptionAction::Terminate),
        ("hibernate", InterruptionAction::Hibernate),
        ("evaporate", InterruptionAction::Unspecified),
    ];
    for (action, expected) in cases {
        let body = format!(r#"{{"action": "{action}", "time": "2017-09-18T08:22:00Z"}}"#);
        assert_eq!(
            spot_interruption(&body),
            Some(notice(expected, 1_505_722_920)),
            "{action}"
        );
    }
    let without_time = spot_interruption(r#"{"action": "stop"}"#);
    assert_eq!(without_time.and_then(|it| it.at), None);
    assert_eq!(spot_interruption("<html>"), None);
}

#[test]
fn a_scheduled_event_counts_from_five_minutes_before_it_until_it_is_over() {
    let near = SCHEDULED_EVENT_IS_NEAR.as_secs();
    let stop = event("instance-stop", "active");
    let stopped = Some(Some(notice(InterruptionAction::Stop, EVENT_AT)));
    assert_eq!(next_event(&stop, at(EVENT_AT - near - 1)), Some(None));
    assert_eq!(next_event(&stop, at(EVENT_AT - near)), stopped);
    assert_eq!(next_event(&stop, at(EVENT_AT + near)), stopped);
    for state in ["completed", "canceled"] {
        let over = event("instance-stop", state);
        assert_eq!(next_event(&over, at(EVENT_AT)), Some(None), "{state}");
    }
}

#[test]
fn events_that_leave_the_worker_running_are_ignored() {
    let cases = [
        ("instance-stop", Some(InterruptionAction::Stop)),
        ("instance-retirement", Some(InterruptionAction::Retire)),
        ("instance-reboot", Some(InterruptionAction::Reboot)),
        ("system-reboot", Some(InterruptionAction::Reboot)),
        ("system-maintenance", None),
    ];
    for (code, expected) in cases {
        let expected = expected.map(|action| notice(action, EVENT_AT));
        let found = next_event(&event(code, "active"), at(EVENT_AT));
        assert_eq!(found, Some(expected), "{code}");
    }
    assert_eq!(next_event("[]", at(EVENT_AT)), Some(None));
    assert_eq!(next_event("{}", at(EVENT_AT)), None);
}

#[test]
fn the_earliest_of_several_events_is_returned() {
    let body = r#"[
        {"Code": "instance-stop", "NotBefore": "21 Jan 2019 09:00:43 GMT"},
        {"Code": "system-reboot", "NotBefore": "1 Jan 2019 09:00:43 GMT"}
    ]"#;
    let twenty_days = 20 * 24 * 3600;
    let expected = notice(InterruptionAction::Reboot, EVENT_AT - twenty_days);
    assert_eq!(next_event(body, at(EVENT_AT)), Some(Some(expected)));
}
