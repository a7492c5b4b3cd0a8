//! The random operations of a history.

use proptest::prelude::*;

use crate::faults::SqsFaults;

/// One operation.
#[derive(Debug, Clone)]
pub enum Step {
    Send {
        queue: usize,
        delay_seconds: Option<u32>,
    },
    Receive {
        queue: usize,
        max_messages: usize,
        visibility_seconds: Option<u32>,
    },
    /// Deletes by one of the receipt handles so far.
    Delete {
        which: usize,
    },
    ChangeVisibility {
        which: usize,
        visibility_seconds: u32,
    },
    Purge {
        queue: usize,
    },
    Configure {
        queue: usize,
        setting: Setting,
    },
    Wait {
        seconds: u64,
    },
    Restart,
}

#[derive(Debug, Clone, Copy)]
pub enum Setting {
    Visibility(u32),
    Delay(u32),
    Retention(u32),
    /// Always applies to the first queue.
    ReceiveLimit(Option<u32>),
}

fn step() -> impl Strategy<Value = Step> {
    let queue = || prop_oneof![4 => Just(0_usize), 1 => Just(1)];
    let setting = prop_oneof![
        (0..5u32).prop_map(Setting::Visibility),
        (0..3u32).prop_map(Setting::Delay),
        (60..70u32).prop_map(Setting::Retention),
        prop::option::of(1..4u32).prop_map(Setting::ReceiveLimit),
    ];
    prop_oneof![
        6 => (queue(), prop::option::of(0..3u32)).prop_map(|(queue, delay_seconds)| Step::Send {
            queue,
            delay_seconds
        }),
        6 => (queue(), 1..=10usize, prop::option::of(0..5u32)).prop_map(
            |(queue, max_messages, visibility_seconds)| Step::Receive { queue, max_messages, visibility_seconds }
        ),
        4 => any::<usize>().prop_map(|which| Step::Delete { which }),
        4 => (any::<usize>(), 0..5u32).prop_map(|(which, visibility_seconds)| {
            Step::ChangeVisibility { which, visibility_seconds }
        }),
        1 => queue().prop_map(|queue| Step::Purge { queue }),
        1 => (queue(), setting).prop_map(|(queue, setting)| Step::Configure { queue, setting }),
        5 => prop_oneof![9 => 0..4u64, 1 => 20..70u64].prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Restart),
    ]
}

/// Returns steps, each with whether it ends a call. The changes of a call are stored together.
pub fn history() -> impl Strategy<Value = Vec<(Step, bool)>> {
    prop::collection::vec((step(), any::<bool>()), 1..120)
}

pub fn faults() -> impl Strategy<Value = SqsFaults> {
    let probability = || prop_oneof![Just(0.0), Just(0.3), Just(1.0)];
    let lag = prop_oneof![Just(0), Just(1000), Just(7000), Just(60_000)];
    (lag, probability(), probability()).prop_map(
        |(counter_lag_ms, duplicate, deliver_after_delete)| SqsFaults {
            counter_lag_ms,
            duplicate,
            deliver_after_delete,
            empty_receive: 0.0,
        },
    )
}
