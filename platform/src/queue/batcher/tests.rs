use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn waiting(waits: &[Wait], until: Instant) -> Waiting {
    let mut waiting = Waiting::none();
    for wait in waits {
        let entry = Entry {
            text: String::new(),
            done: oneshot::channel().0,
        };
        waiting.add(Item::Entry(entry, *wait), until);
    }
    waiting
}

#[test]
fn what_an_entry_waits_for_decides_when_the_batch_goes() {
    let now = Instant::now();
    let later = now + MINUTE;
    let is_due = |waits: &[Wait], calls| waiting(waits, later).is_due(now, calls);
    assert!(!is_due(&[], 0));
    assert!(!is_due(&[Wait::ForOthers], 0));
    assert!(is_due(&[Wait::ForCalls], 0));
    assert!(!is_due(&[Wait::ForCalls], 1));
    assert!(is_due(&[Wait::ForCalls; SEVERAL - 1], 0));
    assert!(!is_due(&[Wait::ForCalls; SEVERAL], 0));
    assert!(is_due(&[Wait::No], 7));
    assert!(is_due(&[Wait::ForOthers, Wait::No, Wait::ForOthers], 1));
    assert!(!is_due(&[Wait::ForOthers; BATCH_LIMIT - 1], 0));
    assert!(is_due(&[Wait::ForOthers; BATCH_LIMIT], 1));
    assert!(waiting(&[Wait::ForOthers], now).is_due(now, 1));
}

#[test]
fn a_flush_ends_the_wait_of_those_that_wait_only() {
    let now = Instant::now();
    let mut entries = waiting(&[Wait::ForOthers], now + MINUTE);
    entries.add(Item::Flush, now + MINUTE);
    assert!(entries.is_due(now, 1));
    let mut none = waiting(&[], now);
    none.add(Item::Flush, now);
    assert_eq!(none.wait, Wait::ForOthers);
}
