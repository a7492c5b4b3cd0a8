//! Orderly shutdown by signals, within deadlines.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
pub use tokio_util::sync::CancellationToken;

/// Returns a token that SIGTERM or SIGINT cancels. A second signal ends the process at once.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = CancellationToken::new();
    let cancelled = shutdown.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => ("SIGTERM", 143),
                _ = interrupt.recv() => ("SIGINT", 130),
            }
        };
        let (name, _) = next().await;
        tracing::info!(signal = name, "shutting down");
        cancelled.cancel();
        let (name, status) = next().await;
        tracing::warn!(signal = name, "ending at once");
        std::process::exit(status);
    });
    Ok(shutdown)
}

/// Runs `service` to its end, or until `deadline` after `shutdown`. Then logs a warning and returns `None`.
pub async fn bounded<T>(
    name: &str,
    shutdown: &CancellationToken,
    deadline: Duration,
    service: impl Future<Output = T>,
) -> Option<T> {
    let expired = async {
        shutdown.cancelled().await;
        tokio::time::sleep(deadline).await;
    };
    tokio::select! {
        output = service => Some(output),
        () = expired => {
            tracing::warn!(service = name, ?deadline, "did not shut down within its deadline");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_that_hangs_is_left_after_the_deadline() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let hanging = std::future::pending::<()>();
        assert_eq!(
            bounded("test", &shutdown, Duration::from_millis(1), hanging).await,
            None
        );
    }

    #[tokio::test]
    async fn the_deadline_does_not_run_before_shutdown() {
        let shutdown = CancellationToken::new();
        let slow = async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            7
        };
        assert_eq!(
            bounded("test", &shutdown, Duration::ZERO, slow).await,
            Some(7)
        );
    }
}
