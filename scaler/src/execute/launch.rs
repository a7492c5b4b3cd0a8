use std::time::Duration;

use platform::fleet::{Fleet, FleetError, LaunchSpec, UserData};
use proto::names::WORKER_INSTANCE;
use uuid::Uuid;

use super::Executor;
use super::call::{Call, ExecutionEvent, Launch, UnconfirmedLaunch};
use super::permit::{self, ActingPermit};
use super::throttle::Action;
use crate::fleet::FleetView;
use crate::plan::{InstanceId, Timestamp};

/// How soon to check again whether a launch that was put off may be made.
const RETRY: Duration = Duration::from_millis(500);

/// How long EC2 may not list the instances of an unconfirmed launch. Until then no smaller launch is made.
const UNCONFIRMED_LAG: Duration = Duration::from_secs(75);

impl Executor {
    /// Launches as many as the throttle allows now, all in one capacity pool. The next plan asks for the rest again.
    pub(super) fn launch_instances(&mut self, wanted: u32, view: &mut FleetView, now: Timestamp) {
        let launch = self
            .user_data()
            .and_then(|user_data| Some((self.next_launch(wanted, view, now)?, user_data)));
        let Some((launch, user_data)) = launch else {
            self.launch_waits_until = Some(now.after(RETRY));
            return;
        };
        view.launching += launch.count;
        let mut spec = self.spec.clone();
        spec.instance_type.clone_from(&launch.pool.instance_type);
        spec.subnet_id.clone_from(&launch.pool.subnet_id);
        spec.user_data = user_data;
        let (fleet, permit) = (self.fleet.clone(), self.permit());
        self.spawn(now, async move {
            let launched = launch_while(&permit, &fleet, &spec, &launch).await;
            let (launched, error) = match launched {
                Ok(ids) => (ids.iter().map(|id| id.as_str().into()).collect(), None),
                Err(error) => (Vec::new(), Some(error)),
            };
            (Call::Launch(launch, launched), error)
        });
    }

    /// Returns the user data for a launch; `None` while it needs the fleet's token and that is not known.
    pub(super) fn user_data(&self) -> Option<UserData> {
        let template = &self.spec.user_data;
        match &self.fleet_token {
            Some(fleet_token) => fleet_token.fill_in(template),
            None => Some(template.clone()),
        }
    }

    /// Chooses the next launch; `None` when the throttle or a larger unconfirmed launch forbids it. While a launch is
    /// unconfirmed only that one is repeated. So it does not happen twice, and no other launch comes on top of it.
    pub(super) fn next_launch(
        &mut self,
        wanted: u32,
        view: &FleetView,
        now: Timestamp,
    ) -> Option<Launch> {
        self.unconfirmed_launches
            .retain(|launch| launch.may_be_outstanding(view, now));
        if self.unconfirmed_launches.is_empty() {
            let count = self.throttle.take(Action::Launch, wanted, now);
            return (count > 0).then(|| Launch {
                count,
                pool: self.pools.choose(now),
                token: Uuid::new_v4().to_string(),
                repeats: None,
            });
        }
        let fits = |launch: &UnconfirmedLaunch| launch.count <= wanted;
        let fitting = self.unconfirmed_launches.iter().position(fits)?;
        let count = self.unconfirmed_launches[fitting].count;
        if !self.throttle.take_all(Action::Launch, count, now) {
            return None;
        }
        let repeated = self.unconfirmed_launches.remove(fitting);
        Some(Launch {
            count,
            pool: repeated.pool.clone(),
            token: repeated.token.clone(),
            repeats: Some(repeated),
        })
    }

    pub(super) fn finish_launch(
        &mut self,
        launch: &Launch,
        launched: &[InstanceId],
        asked_at: Timestamp,
        error: Option<&FleetError>,
        view: &mut FleetView,
        now: Timestamp,
    ) -> Vec<ExecutionEvent> {
        view.launching = view.launching.saturating_sub(launch.count);
        view.launched(launched, now);
        self.note_unconfirmed(launch, asked_at, error, now);
        let Some(error) = error else {
            self.launch.note(None, now);
            if launched.len() < launch.count as usize {
                self.pools.exhausted(&launch.pool, now);
                tracing::warn!(
                    pool = ?launch.pool,
                    asked = launch.count,
                    launched = launched.len(),
                    "EC2 had capacity for a part of a launch only"
                );
                if !self.pools.any_left(now) {
                    self.launch.hold("InsufficientInstanceCapacity", now);
                }
            }
            return vec![ExecutionEvent::Launched {
                instances: launched.len() as u64,
                ordered_at: asked_at,
            }];
        };
        let code = error.code().unwrap_or_default();
        let tries_elsewhere =
            self.pools.refused(&launch.pool, code, now) && self.pools.any_left(now);
        self.launch.note((!tries_elsewhere).then_some(error), now);
        Vec::new()
    }

    /// Remembers a launch that may have happened.
    fn note_unconfirmed(
        &mut self,
        launch: &Launch,
        asked_at: Timestamp,
        error: Option<&FleetError>,
        now: Timestamp,
    ) {
        let before = launch.repeats.as_ref();
        let unconfirmed = match error {
            Some(error) if error.may_have_happened() => Some(UnconfirmedLaunch {
                count: launch.count,
                pool: launch.pool.clone(),
                token: launch.token.clone(),
                ordered_at: before.map_or(asked_at, |before| before.ordered_at),
                failed_at: now,
            }),
            // EC2 throttles before it looks for an earlier launch with this token.
            Some(error) if error.is_throttled() => before.cloned(),
            _ => None,
        };
        self.unconfirmed_launches.extend(unconfirmed);
    }
}

/// Launches. With a disk, the first launch takes two calls.
async fn launch_while(
    permit: &ActingPermit,
    fleet: &Fleet,
    spec: &LaunchSpec,
    launch: &Launch,
) -> Result<Vec<String>, FleetError> {
    if spec.disk.is_some() {
        fleet.root_device(&spec.image_id).await?;
    }
    if !permit.is_valid() {
        return Err(permit::expired());
    }
    let (count, token) = (launch.count, &launch.token);
    fleet.launch(spec, count, WORKER_INSTANCE, token).await
}

impl UnconfirmedLaunch {
    /// Returns whether its instances may exist and not be listed yet. Later its token would only return instances that
    /// have ended.
    fn may_be_outstanding(&self, view: &FleetView, now: Timestamp) -> bool {
        let was_seen = view
            .newcomers_at
            .is_some_and(|described_at| described_at >= self.ordered_at);
        !was_seen && now.since(self.failed_at) < UNCONFIRMED_LAG
    }
}
