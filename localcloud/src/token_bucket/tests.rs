use proptest::prelude::*;

use super::*;

const NOW: Millis = 1_800_000_000_000;

fn bucket(size: u32, refill_per_second: f64) -> TokenBucket {
    let limit = RateLimit {
        size,
        refill_per_second,
    };
    TokenBucket::full(limit, NOW)
}

#[test]
fn a_bucket_yields_its_content_and_then_its_refill() {
    let mut bucket = bucket(5, 2.0);
    assert!((0..5).all(|_| bucket.take(1, NOW)));
    assert!(!bucket.take(1, NOW));
    assert!(!bucket.take(1, NOW + 499));
    assert!(bucket.take(1, NOW + 500), "half a second refills a token");
    assert!(!bucket.take(1, NOW + 500));
    let later = NOW + 3_600_000;
    assert!((0..5).all(|_| bucket.take(1, later)), "full after an hour");
    assert!(!bucket.take(1, later), "it holds no more than its size");
}

#[test]
fn a_bucket_with_too_few_tokens_yields_none() {
    let mut bucket = bucket(10, 0.0);
    assert!(!bucket.take(11, NOW));
    assert!(bucket.take(10, NOW));
}

#[test]
fn a_fractional_refill_loses_no_token() {
    let mut bucket = bucket(1, 0.1);
    assert!(bucket.take(1, NOW));
    let taken = (1..=1_000_000)
        .step_by(7)
        .filter(|passed| bucket.take(1, NOW + passed))
        .count();
    assert!((99..=100).contains(&taken), "a token in 10 s: {taken}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Holds for every start of the window, and also when the clock stands still.
    #[test]
    fn no_window_yields_more_than_the_size_and_its_refill(
        size in 1_u32..20,
        refill_per_second in 0_u32..50,
        calls in proptest::collection::vec((0_u64..400, 1_u64..6), 1..80),
    ) {
        let mut bucket = bucket(size, f64::from(refill_per_second));
        let mut now = NOW;
        let mut given = Vec::new();
        for (pause, tokens) in calls {
            now += pause;
            if bucket.take(tokens, now) {
                given.push((now, tokens));
            }
        }
        for (first, (from, _)) in given.iter().enumerate() {
            let mut taken = 0;
            for (at, tokens) in &given[first..] {
                taken += tokens;
                let refilled = (at - from) * u64::from(refill_per_second);
                prop_assert!(taken * 1000 <= u64::from(size) * 1000 + refilled);
            }
        }
    }

    /// A caller that calls often enough for the bucket never to overflow gets all of the refill.
    #[test]
    fn a_frequent_caller_gets_every_token(size in 2_u32..20, refill_per_second in 1_u32..50, seconds in 1_u64..20) {
        let mut bucket = bucket(size, f64::from(refill_per_second));
        let taken = (0..=seconds * 1000).filter(|passed| bucket.take(1, NOW + passed)).count();
        let granted = u64::from(size) + seconds * u64::from(refill_per_second);
        prop_assert_eq!(taken as u64, granted);
    }
}
