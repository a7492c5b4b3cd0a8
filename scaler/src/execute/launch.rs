use std::sync::Arc;

use proto::names::WORKER_INSTANCE;
use uuid::Uuid;

use super::Executor;
use super::outcome::Call;
use crate::observe::{LAG, World};
use crate::plan::Moment;

/// A launch that may or may not have reached EC2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnsureLaunch {
    pub count: u32,
    /// EC2 takes a launch with the token of an earlier one for the same launch.
    pub token: String,
    pub ordered_at: Moment,
    pub failed_at: Moment,
}

impl Executor {
    pub(super) fn launch_instances(&mut self, count: u32, world: &mut World, now: Moment) {
        world.launching += count;
        let token = self.launch_token(count, world, now);
        let (fleet, spec) = (self.fleet.clone(), Arc::clone(&self.spec));
        self.spawn(now, async move {
            let (launched, error) = match fleet.launch(&spec, count, WORKER_INSTANCE, &token).await
            {
                Ok(ids) => (ids.iter().map(|id| id.as_str().into()).collect(), None),
                Err(error) => (Vec::new(), Some(error)),
            };
            (
                Call::Launch {
                    count,
                    token,
                    launched,
                },
                error,
            )
        });
    }

    /// That of the launch before, if that may or may not have happened: then it does not happen twice.
    pub(super) fn launch_token(&mut self, count: u32, world: &World, now: Moment) -> String {
        let unsure = self.unsure_launch.take();
        let same = unsure.filter(|it| it.count == count && it.may_be_outstanding(world, now));
        same.map_or_else(|| Uuid::new_v4().to_string(), |it| it.token)
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
