//! Tells systemd when a service is ready, alive and stopping.

use std::env;
use std::time::Duration;

use sd_notify::{NotifyState, watchdog_enabled};
use tokio::net::UnixDatagram;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::admin::Readiness;
use crate::shutdown::CancellationToken;

/// The path of systemd's socket. systemd sets it for units of the type `notify`.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Reports to systemd in the background until the process ends: `READY=1` once the service is ready, `STOPPING=1` at
/// `shutdown`, and `WATCHDOG=1` twice in each watchdog interval while `is_alive` returns true. A runtime that is stuck reports
/// nothing either. Without `NOTIFY_SOCKET` this does nothing.
pub fn report(
    ready: Readiness,
    shutdown: CancellationToken,
    is_alive: impl FnMut() -> bool + Send + 'static,
) {
    if env::var_os(SOCKET).is_none() {
        return;
    }
    if let Some(limit) = watchdog_enabled() {
        let mut heartbeat = Heartbeat::new(limit / 2, shutdown.clone(), is_alive);
        tokio::spawn(async move {
            loop {
                heartbeat.beat().await;
                send(&[NotifyState::Watchdog]).await;
            }
        });
    }
    tokio::spawn(report_readiness(ready, shutdown));
}

async fn report_readiness(mut ready: Readiness, shutdown: CancellationToken) {
    let reporting = async {
        while ready.wait_for(|ready| *ready).await.is_ok() {
            send(&[NotifyState::Ready, NotifyState::Status("ready")]).await;
            if ready.wait_for(|ready| !*ready).await.is_err() {
                break;
            }
            // To systemd a service that was ready once stays ready.
            send(&[NotifyState::Status("not ready")]).await;
        }
    };
    shutdown.run_until_cancelled(reporting).await;
    shutdown.cancelled().await;
    send(&[NotifyState::Stopping, NotifyState::Status("stopping")]).await;
}

/// A service's heartbeat for systemd's watchdog.
struct Heartbeat<F> {
    ticks: Interval,
    shutdown: CancellationToken,
    is_alive: F,
}

impl<F: FnMut() -> bool> Heartbeat<F> {
    fn new(period: Duration, shutdown: CancellationToken, is_alive: F) -> Self {
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            ticks,
            shutdown,
            is_alive,
        }
    }

    /// Waits for the end of a period in which the service was alive. After the shutdown each period counts, since the unit's
    /// stop timeout applies.
    async fn beat(&mut self) {
        loop {
            self.ticks.tick().await;
            if self.shutdown.is_cancelled() || (self.is_alive)() {
                return;
            }
            tracing::error!("no progress: the watchdog gets no sign of life");
        }
    }
}

/// Waits while systemd's socket is full, which must not block a thread of the runtime.
async fn send(states: &[NotifyState<'_>]) {
    let message: String = states.iter().map(|state| format!("{state}\n")).collect();
    let sending = async {
        let socket = UnixDatagram::unbound()?;
        socket.connect(env::var_os(SOCKET).unwrap_or_default())?;
        socket.send(message.as_bytes()).await
    };
    if let Err(error) = sending.await {
        tracing::warn!(%error, "cannot report to systemd");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use testkit::eventually;

    use super::*;

    #[tokio::test]
    async fn life_shows_while_there_is_progress_and_during_the_shutdown() {
        let shutdown = CancellationToken::new();
        let [asked, signs] = [(); 2].map(|()| Arc::new(AtomicU32::new(0)));
        let (asking, showing) = (Arc::clone(&asked), Arc::clone(&signs));
        let is_alive = move || asking.fetch_add(1, Relaxed) == 0;
        let mut heartbeat = Heartbeat::new(Duration::from_millis(1), shutdown.clone(), is_alive);
        tokio::spawn(async move {
            loop {
                heartbeat.beat().await;
                showing.fetch_add(1, Relaxed);
            }
        });
        eventually("life was asked for", async || asked.load(Relaxed) > 2).await;
        assert_eq!(signs.load(Relaxed), 1);
        shutdown.cancel();
        eventually("life shows", async || signs.load(Relaxed) > 2).await;
    }
}
