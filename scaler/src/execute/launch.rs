use std::time::Duration;

use platform::fleet::{FleetError, UserData};
use proto::names::WORKER_INSTANCE;
use uuid::Uuid;

use super::Executor;
use super::limits::Action;
use super::outcome::{Call, Launch};
use super::places::Place;
use crate::observe::World;
use crate::plan::Timestamp;

/// How soon to look again whether a launch may be made that was put off.
const UNSURE_POLL: Duration = Duration::from_millis(500);

/// How long the instances of a launch whose answer was lost may be unlisted. Until then nothing less is launched.
const UNSURE_LAG: Duration = Duration::from_secs(75);

/// A launch that may or may not have reached EC2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnsureLaunch {
    pub count: u32,
    pub place: Place,
    /// EC2 takes a launch with the token of an earlier one for the same launch.
    pub token: String,
    pub ordered_at: Timestamp,
    pub failed_at: Timestamp,
}

/// The launch to make next.
#[derive(Debug)]
pub(super) struct Next {
    pub count: u32,
    pub place: Place,
    pub token: String,
    /// The launch that it repeats.
    pub repeats: Option<UnsureLaunch>,
}

impl Executor {
    /// Launches as many as may be launched now, all in one place. The plan asks for the others again.
    pub(super) fn launch_instances(&mut self, wanted: u32, world: &mut World, now: Timestamp) {
        let next = self
            .user_data()
            .and_then(|user_data| Some((self.next_launch(wanted, world, now)?, user_data)));
        let Some((next, user_data)) = next else {
            // Looked at again soon, but not at once.
            self.launch_waits_until = Some(now.after(UNSURE_POLL));
            return;
        };
        world.launching += next.count;
        let mut spec = self.spec.clone();
        spec.instance_type.clone_from(&next.place.instance_type);
        spec.subnet_id.clone_from(&next.place.subnet_id);
        spec.user_data = user_data;
        let fleet = self.fleet.clone();
        self.spawn(now, async move {
            let launched = fleet
                .launch(&spec, next.count, WORKER_INSTANCE, &next.token)
                .await;
            let (launched, error) = match launched {
                Ok(ids) => (ids.iter().map(|id| id.as_str().into()).collect(), None),
                Err(error) => (Vec::new(), Some(error)),
            };
            let launch = Launch {
                count: next.count,
                place: next.place,
                token: next.token,
                repeats: next.repeats,
                launched,
            };
            (Call::Launch(launch), error)
        });
    }

    /// Absent while the token that belongs into it is not known.
    fn user_data(&self) -> Option<UserData> {
        let template = &self.spec.user_data;
        match &self.fleet_token {
            Some(fleet_token) => fleet_token.fill_in(template),
            None => Some(template.clone()),
        }
    }

    /// While a launch may have happened without its instances being known, only that one is asked for again: then it does
    /// not happen twice, and nothing comes on top of it. Absent when the limits or a larger unsure launch forbid it.
    pub(super) fn next_launch(
        &mut self,
        wanted: u32,
        world: &World,
        now: Timestamp,
    ) -> Option<Next> {
        self.unsure_launches
            .retain(|unsure| unsure.may_be_outstanding(world, now));
        if self.unsure_launches.is_empty() {
            let count = self.limits.take(Action::Launch, wanted, now);
            return (count > 0).then(|| Next {
                count,
                place: self.places.choose(now),
                token: Uuid::new_v4().to_string(),
                repeats: None,
            });
        }
        let fits = |unsure: &UnsureLaunch| unsure.count <= wanted;
        let fitting = self.unsure_launches.iter().position(fits)?;
        let count = self.unsure_launches[fitting].count;
        if !self.limits.take_all(Action::Launch, count, now) {
            return None;
        }
        let unsure = self.unsure_launches.remove(fitting);
        Some(Next {
            count,
            place: unsure.place.clone(),
            token: unsure.token.clone(),
            repeats: Some(unsure),
        })
    }

    pub(super) fn finish_launch(
        &mut self,
        launch: &Launch,
        asked_at: Timestamp,
        error: Option<&FleetError>,
        world: &mut World,
        now: Timestamp,
    ) {
        world.launching = world.launching.saturating_sub(launch.count);
        world.launched(&launch.launched, now);
        self.note_unsure(launch, asked_at, error, now);
        let Some(error) = error else {
            self.launch.note(None, now);
            self.count_start(
                &mut |totals| &mut totals.launched,
                launch.launched.len(),
                asked_at,
            );
            if launch.launched.len() < launch.count as usize {
                self.places.exhausted(&launch.place, now);
                tracing::warn!(
                    place = ?launch.place,
                    asked = launch.count,
                    launched = launch.launched.len(),
                    "there was capacity for a part of a launch only"
                );
                if !self.places.any_left(now) {
                    self.launch.hold(now);
                }
            }
            return;
        };
        let code = error.code().unwrap_or_default();
        if self.places.refused(&launch.place, code, now) && self.places.any_left(now) {
            // The next place is tried as soon as the limits allow.
            self.launch.note(None, now);
        } else {
            self.launch.note(Some(error), now);
        }
    }

    /// Remembers a launch that may have happened.
    fn note_unsure(
        &mut self,
        launch: &Launch,
        asked_at: Timestamp,
        error: Option<&FleetError>,
        now: Timestamp,
    ) {
        let before = launch.repeats.as_ref();
        let unsure = match error {
            Some(error) if error.may_have_happened() => Some(UnsureLaunch {
                count: launch.count,
                place: launch.place.clone(),
                token: launch.token.clone(),
                ordered_at: before.map_or(asked_at, |before| before.ordered_at),
                failed_at: now,
            }),
            // EC2 throttles before it looks for an earlier launch with this token.
            Some(error) if error.is_throttled() => before.cloned(),
            _ => None,
        };
        self.unsure_launches.extend(unsure);
    }
}

impl UnsureLaunch {
    /// Whether its instances may exist and be unknown as yet. Later its token would only bring back instances that have
    /// come and gone.
    fn may_be_outstanding(&self, world: &World, now: Timestamp) -> bool {
        let was_seen = world
            .newcomers_at
            .is_some_and(|described_at| described_at >= self.ordered_at);
        !was_seen && now.since(self.failed_at) < UNSURE_LAG
    }
}
