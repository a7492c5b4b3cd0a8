use proto::names::WORKER_INSTANCE;
use uuid::Uuid;

use super::Executor;
use super::limits::Action;
use super::outcome::{Call, Launch};
use super::places::Place;
use crate::observe::{LAG, World};
use crate::plan::Moment;

/// A launch that may or may not have reached EC2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnsureLaunch {
    pub count: u32,
    pub place: Place,
    /// EC2 takes a launch with the token of an earlier one for the same launch.
    pub token: String,
    pub ordered_at: Moment,
    pub failed_at: Moment,
}

impl Executor {
    /// Launches as many as may be launched now, all in one place. The plan asks for the others again.
    pub(super) fn launch_instances(&mut self, count: u32, world: &mut World, now: Moment) {
        let count = self.limits.take(Action::Launch, count, now);
        if count == 0 {
            return;
        }
        world.launching += count;
        let (token, place) = self.token_and_place(count, world, now);
        let mut spec = self.spec.clone();
        spec.instance_type.clone_from(&place.instance_type);
        spec.subnet_id.clone_from(&place.subnet_id);
        let fleet = self.fleet.clone();
        self.spawn(now, async move {
            let (launched, error) = match fleet.launch(&spec, count, WORKER_INSTANCE, &token).await
            {
                Ok(ids) => (ids.iter().map(|id| id.as_str().into()).collect(), None),
                Err(error) => (Vec::new(), Some(error)),
            };
            let launch = Launch {
                count,
                place,
                token,
                launched,
            };
            (Call::Launch(launch), error)
        });
    }

    /// Those of the launch before, if that may or may not have happened: then it does not happen twice.
    pub(super) fn token_and_place(
        &mut self,
        count: u32,
        world: &World,
        now: Moment,
    ) -> (String, Place) {
        let unsure = self.unsure_launch.take();
        let same = unsure.filter(|it| it.count == count && it.may_be_outstanding(world, now));
        match same {
            Some(it) => (it.token, it.place),
            None => (Uuid::new_v4().to_string(), self.places.choose(now)),
        }
    }

    pub(super) fn finish_launch(
        &mut self,
        launch: &Launch,
        asked_at: Moment,
        error: Option<&platform::fleet::FleetError>,
        world: &mut World,
        now: Moment,
    ) {
        world.launching = world.launching.saturating_sub(launch.count);
        world.launched(&launch.launched, now);
        self.unsure_launch = match error {
            Some(error) if error.code().is_none() => Some(UnsureLaunch {
                count: launch.count,
                place: launch.place.clone(),
                token: launch.token.clone(),
                ordered_at: asked_at,
                failed_at: now,
            }),
            _ => None,
        };
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
}

impl UnsureLaunch {
    /// Whether its instances may exist and be unknown as yet. Later its token would only bring back instances that have
    /// come and gone.
    fn may_be_outstanding(&self, world: &World, now: Moment) -> bool {
        let was_seen = world
            .newcomers_at
            .is_some_and(|described_at| described_at >= self.ordered_at);
        !was_seen && now.since(self.failed_at) < LAG
    }
}
