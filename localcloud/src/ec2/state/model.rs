//! Random calls and process events, compared with a model that is a table of transitions.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const NOW: Millis = 1_800_000_000_000;
const CAPACITY: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    Launch {
        count: usize,
        token: Option<u8>,
        market: Market,
        terminate_on_shutdown: bool,
    },
    Call(Call, Vec<Index>),
    Event(Event, Index, BootOf),
    Protect(Index, bool, bool),
    Wait(Millis),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Call {
    Start,
    Stop,
    ForceStop,
    Terminate,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    Started,
    EndedByItself,
    Gone,
    BootFailed,
    Announced,
    Interrupted,
}

/// The boot that an event belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum BootOf {
    Current,
    Earlier,
}

/// The model of an instance.
#[derive(Debug, Clone)]
struct ModelInstance {
    state: InstanceState,
    market: Market,
    terminate_on_shutdown: bool,
    no_stop: bool,
    no_terminate: bool,
    announced: bool,
}

#[derive(Debug, Default)]
struct Model {
    instances: BTreeMap<String, ModelInstance>,
    tokens: HashMap<u8, (usize, Market, bool, Vec<String>)>,
}

use InstanceState::{Pending, Running, ShuttingDown, Stopped, Stopping, Terminated};

impl ModelInstance {
    fn uses_capacity(&self) -> bool {
        matches!(self.state, Pending | Running)
    }

    /// Returns the error of a call that the instance's state refuses.
    fn refusal(&self, call: Call) -> Option<&'static str> {
        match (call, self.state) {
            (Call::Start, Stopping | ShuttingDown | Terminated) => Some("IncorrectInstanceState"),
            (Call::Stop | Call::ForceStop, Running) if self.no_stop => {
                Some("OperationNotPermitted")
            }
            (Call::Stop | Call::ForceStop, Pending | Running)
                if self.market == Market::OneTimeSpot =>
            {
                Some("UnsupportedOperation")
            }
            (Call::Stop | Call::ForceStop, Pending | ShuttingDown | Terminated) => {
                Some("IncorrectInstanceState")
            }
            (Call::Terminate, Pending | Running | Stopping | Stopped) if self.no_terminate => {
                Some("OperationNotPermitted")
            }
            _ => None,
        }
    }

    fn call(&mut self, call: Call) {
        self.state = match (call, self.state) {
            (Call::Start, Stopped) => {
                self.announced = false;
                Pending
            }
            (Call::Stop | Call::ForceStop, Running) => Stopping,
            (Call::Terminate, Pending | Running | Stopping) => ShuttingDown,
            (Call::Terminate, Stopped) => Terminated,
            (_, same) => same,
        };
    }

    fn event(&mut self, event: Event) {
        self.state = match (event, self.state) {
            (Event::Started, Pending) => Running,
            (Event::EndedByItself, Pending | Running)
                if self.terminate_on_shutdown || self.market == Market::OneTimeSpot =>
            {
                ShuttingDown
            }
            (Event::EndedByItself, Pending | Running) => Stopping,
            (Event::Gone, ShuttingDown) => Terminated,
            (Event::Gone, Stopping) => Stopped,
            (Event::BootFailed, _) => Terminated,
            (Event::Announced, state) => {
                self.announced |= self.uses_capacity() && self.market != Market::OnDemand;
                state
            }
            (Event::Interrupted, Pending | Running) if self.announced => match self.market {
                Market::PersistentSpot => Stopping,
                _ => ShuttingDown,
            },
            (_, same) => same,
        };
    }
}

impl Model {
    fn used(&self) -> usize {
        self.instances
            .values()
            .filter(|one| one.uses_capacity())
            .count()
    }

    /// Applies a call that no instance refuses. Returns the code of its error if the capacity is exceeded.
    fn call(&mut self, call: Call, ids: &BTreeSet<String>) -> Option<&'static str> {
        let of = |id: &String| &self.instances[id];
        let started = ids.iter().filter(|id| of(id).state == Stopped).count();
        if call == Call::Start && started > 0 && self.used() + started > CAPACITY {
            return Some("InsufficientInstanceCapacity");
        }
        for id in ids {
            self.instances.get_mut(id).unwrap().call(call);
        }
        None
    }
}

fn market() -> impl Strategy<Value = Market> {
    prop_oneof![
        Just(Market::OnDemand),
        Just(Market::OneTimeSpot),
        Just(Market::PersistentSpot)
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let call = prop_oneof![
        Just(Call::Start),
        Just(Call::Stop),
        Just(Call::ForceStop),
        Just(Call::Terminate)
    ];
    let event = prop_oneof![
        6 => Just(Event::Started),
        2 => Just(Event::EndedByItself),
        6 => Just(Event::Gone),
        1 => Just(Event::BootFailed),
        2 => Just(Event::Announced),
        2 => Just(Event::Interrupted)
    ];
    let boot = prop_oneof![4 => Just(BootOf::Current), 1 => Just(BootOf::Earlier)];
    prop_oneof![
        2 => (1..3usize, proptest::option::of(0..3u8), market(), any::<bool>()).prop_map(
            |(count, token, market, terminate_on_shutdown)| Step::Launch {
                count, token, market, terminate_on_shutdown
            }
        ),
        4 => (call, proptest::collection::vec(any::<Index>(), 1..4))
            .prop_map(|(call, ids)| Step::Call(call, ids)),
        6 => (event, any::<Index>(), boot)
            .prop_map(|(event, id, boot)| Step::Event(event, id, boot)),
        1 => (any::<Index>(), any::<bool>(), any::<bool>())
            .prop_map(|(id, stop, terminate)| Step::Protect(id, stop, terminate)),
        1 => (1..1000u64).prop_map(Step::Wait),
    ]
}

/// Returns whether a transition is one that AWS documents, or that of a failed boot.
fn is_legal(before: InstanceState, after: InstanceState) -> bool {
    before == after
        || matches!(
            (before, after),
            (Pending, Running | Stopping | ShuttingDown)
                | (Running, Stopping | ShuttingDown)
                | (Stopping, Stopped | ShuttingDown)
                | (Stopped, Pending | Terminated)
                | (ShuttingDown, Terminated)
                // The boot failed.
                | (Pending | Running | Stopping, Terminated)
        )
}

fn states(instances: &Instances) -> BTreeMap<String, InstanceState> {
    instances
        .by_sequence
        .values()
        .map(|one| (one.instance_id.clone(), one.state))
        .collect()
}

fn launch(
    instances: &mut Instances,
    model: &mut Model,
    step: &Step,
    number: usize,
    now: Millis,
) -> Result<(), TestCaseError> {
    let Step::Launch {
        count,
        token,
        market,
        terminate_on_shutdown,
    } = step.clone()
    else {
        return Ok(());
    };
    let interruption = match market {
        Market::PersistentSpot => InterruptionAction::Stop,
        _ => InterruptionAction::Terminate,
    };
    let spec = LaunchSpec {
        market,
        interruption,
        terminate_on_shutdown,
        ..LaunchSpec::default()
    };
    let capacity = instances.capacity_for(&spec);
    prop_assert_eq!(capacity, CAPACITY - model.used());
    let ids: Vec<String> = (0..count.min(capacity))
        .map(|one| format!("i-{number}-{one}"))
        .collect();
    let request = LaunchRequest {
        spec,
        reservation_id: format!("r-{number}"),
        client_token: token.map(|token| token.to_string()).unwrap_or_default(),
        requested: count,
        instance_ids: ids.clone(),
    };
    let launched = instances.launch(request, now);
    let asked = (count, market, terminate_on_shutdown);
    match token.and_then(|token| model.tokens.get(&token)) {
        Some((count, market, terminate, first)) if (*count, *market, *terminate) == asked => {
            prop_assert_eq!(launched, Ok((first.clone(), false)));
        }
        Some(_) => prop_assert_eq!(launched, Err(Ec2Error::IdempotentParameterMismatch)),
        None => {
            prop_assert_eq!(launched, Ok((ids.clone(), true)));
            for id in &ids {
                let expected = ModelInstance {
                    state: Pending,
                    market,
                    terminate_on_shutdown,
                    no_stop: false,
                    no_terminate: false,
                    announced: false,
                };
                model.instances.insert(id.clone(), expected);
            }
            if let Some(token) = token {
                model
                    .tokens
                    .insert(token, (count, market, terminate_on_shutdown, ids));
            }
        }
    }
    Ok(())
}

fn apply(instance: &mut Instance, event: Event, boot: u64, now: Millis) {
    match event {
        Event::Started => instance.process_started(boot, now),
        Event::EndedByItself => instance.process_ended(boot, "exit code 1", now),
        Event::Gone => instance.process_gone(boot),
        Event::BootFailed => instance.boot_failed(boot, "no such file", now),
        Event::Announced => {
            let action = instance.spec.interruption;
            // The model expects a refused announcement to change nothing.
            let _ = instance.announce_interruption(Interruption {
                action,
                noticed: now,
                at: now,
            });
        }
        Event::Interrupted => {
            instance.interrupt(boot, now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn instances_behave_like_the_model(steps in proptest::collection::vec(step(), 1..60)) {
        let capacity = Capacity { instance_type: None, subnet: None, instances: CAPACITY };
        let mut instances = Instances::new(vec![capacity], 0);
        let mut model = Model::default();
        let mut now = NOW;
        for (number, step) in steps.iter().enumerate() {
            let before = states(&instances);
            let names: Vec<String> = before.keys().cloned().collect();
            match step {
                Step::Launch { .. } => launch(&mut instances, &mut model, step, number, now)?,
                Step::Wait(millis) => now += millis,
                _ if names.is_empty() => {}
                Step::Call(call, ids) => {
                    let ids: Vec<String> = ids.iter().map(|id| id.get(&names).clone()).collect();
                    let result = match call {
                        Call::Start => instances.start(&ids, now),
                        Call::Stop => instances.stop(&ids, false, now),
                        Call::ForceStop => instances.stop(&ids, true, now),
                        Call::Terminate => instances.terminate(&ids, now),
                    };
                    // The first instance with an error decides which one the call returns.
                    let refused = ids.iter().find_map(|id| model.instances[id].refusal(*call));
                    let unique: BTreeSet<String> = ids.into_iter().collect();
                    let expected = refused.or_else(|| model.call(*call, &unique));
                    prop_assert_eq!(result.err().map(|error| error.code()), expected);
                }
                Step::Event(event, id, whose) => {
                    let id = id.get(&names);
                    let instance = instances.get_mut(id).unwrap();
                    let boot = instance.boot - u64::from(*whose == BootOf::Earlier);
                    apply(instance, *event, boot, now);
                    // Events of an earlier process change nothing; an announcement belongs to no process.
                    if *whose == BootOf::Current || *event == Event::Announced {
                        model.instances.get_mut(id).unwrap().event(*event);
                    }
                }
                Step::Protect(id, no_stop, no_terminate) => {
                    let id = id.get(&names);
                    let spec = &mut instances.get_mut(id).unwrap().spec;
                    spec.disable_api_stop = *no_stop;
                    spec.disable_api_termination = *no_terminate;
                    let expected = model.instances.get_mut(id).unwrap();
                    expected.no_stop = *no_stop;
                    expected.no_terminate = *no_terminate;
                }
            }
            let after = states(&instances);
            let expected: BTreeMap<String, InstanceState> =
                model.instances.iter().map(|(id, one)| (id.clone(), one.state)).collect();
            prop_assert_eq!(&after, &expected, "after {:?}", step);
            for (id, state) in &before {
                prop_assert!(is_legal(*state, after[id]), "{} from {:?} to {:?}", id, state, after[id]);
                prop_assert!(*state != Terminated || after[id] == Terminated);
            }
            let used = after.values().filter(|state| matches!(state, Pending | Running)).count();
            prop_assert!(used <= CAPACITY, "{} of {} used", used, CAPACITY);
        }
    }
}
