//! Tells systemd when a service is ready, alive and stopping.

use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::admin::Readiness;
use crate::shutdown::CancellationToken;

/// Reports to systemd in the background until the process ends: `READY=1` once the service is ready, `STOPPING=1` at
/// `shutdown`, and `WATCHDOG=1` twice in each watchdog interval while `is_alive` returns true. A runtime that is stuck reports
/// nothing either. Without `NOTIFY_SOCKET`, which systemd sets, this does nothing.
pub fn report(
    ready: Readiness,
    shutdown: CancellationToken,
    is_alive: impl FnMut() -> bool + Send + 'static,
) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    if let Some(limit) = watchdog_enabled() {
        let alive = || send(&[NotifyState::Watchdog]);
        tokio::spawn(report_life(limit / 2, shutdown.clone(), is_alive, alive));
    }
    tokio::spawn(report_readiness(ready, shutdown));
}

async fn report_readiness(mut ready: Readiness, shutdown: CancellationToken) {
    let reporting = async {
        while ready.wait_for(|ready| *ready).await.is_ok() {
            send(&[NotifyState::Ready, NotifyState::Status("ready")]);
            if ready.wait_for(|ready| !*ready).await.is_err() {
                break;
            }
            // To systemd a service that was ready once stays ready.
            send(&[NotifyState::Status("not ready")]);
        }
    };
    shutdown.run_until_cancelled(reporting).await;
    shutdown.cancelled().await;
    send(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Calls `report` after each `period` in which `is_alive` returned true. After `shutdown` it no longer asks: then the unit's
/// stop timeout applies.
async fn report_life(
    period: Duration,
    shutdown: CancellationToken,
    mut is_alive: impl FnMut() -> bool,
    mut report: impl FnMut(),
) {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if shutdown.is_cancelled() || is_alive() {
            report();
        } else {
            tracing::error!(?period, "no progress: the watchdog is not told of life");
        }
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = notify(states) {
        tracing::warn!(%error, "cannot report to the service manager");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use testkit::eventually;

    use super::*;

    #[tokio::test]
    async fn life_is_reported_while_there_is_progress_and_during_the_shutdown() {
        let shutdown = CancellationToken::new();
        let [asked, reports] = [(); 2].map(|()| Arc::new(AtomicU32::new(0)));
        let (asking, reporting) = (Arc::clone(&asked), Arc::clone(&reports));
        tokio::spawn(report_life(
            Duration::from_millis(1),
            shutdown.clone(),
            move || asking.fetch_add(1, Relaxed) == 0,
            move || _ = reporting.fetch_add(1, Relaxed),
        ));
        eventually("life was asked for", async || asked.load(Relaxed) > 2).await;
        assert_eq!(reports.load(Relaxed), 1);
        shutdown.cancel();
        eventually("life is reported", async || reports.load(Relaxed) > 2).await;
    }
}
