//! What a viewer is to be sent next. Only the newest values are kept, so that a viewer that does not read costs little.

use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::response::sse::Event;
use proto::v1::ScalerStatus;
use serde::Serialize;
use tokio::sync::Notify;

use super::encoding::StatusEncoder;
use super::event;
use super::history::History;

/// Events about the scaler for one viewer.
#[derive(Debug, Default)]
pub struct Feed {
    pending: Mutex<PendingEvents>,
    changed: Notify,
}

/// The events in the order in which they are sent.
#[derive(Debug, Default)]
struct PendingEvents {
    /// The last event `scaler`, and whether it was sent.
    scaler: Option<(Connection, bool)>,
    history: Option<History>,
    status: Option<ScalerStatus>,
}

/// The event `scaler`.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Connection {
    connected: bool,
    /// Why it is not connected.
    message: Option<String>,
}

impl Feed {
    /// The scaler is connected.
    pub fn connected(&self, history: History, status: ScalerStatus) {
        self.change(|pending| {
            pending.connection(Connection {
                connected: true,
                message: None,
            });
            pending.history = Some(history);
            pending.status = Some(status);
        });
    }

    pub fn status(&self, status: ScalerStatus) {
        self.change(|pending| pending.status = Some(status));
    }

    /// A decision that changes something, which is added to the history.
    pub fn decision(&self, decision: ScalerStatus) {
        self.change(|pending| {
            pending
                .history
                .get_or_insert_with(History::default)
                .add(decision);
        });
    }

    /// The scaler is not connected. What was not sent yet is dropped: the next connection brings all of it again.
    pub fn disconnected(&self, message: &str) {
        self.change(|pending| {
            pending.connection(Connection {
                connected: false,
                message: Some(message.to_owned()),
            });
            (pending.history, pending.status) = (None, None);
        });
    }

    /// Waits for the next event. Only one task may wait.
    pub async fn next(&self, encoder: &StatusEncoder) -> Event {
        loop {
            if let Some(event) = self.take(encoder) {
                return event;
            }
            self.changed.notified().await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut PendingEvents)) {
        change(&mut self.pending());
        self.changed.notify_one();
    }

    fn take(&self, encoder: &StatusEncoder) -> Option<Event> {
        let mut pending = self.pending();
        if let Some((connection, is_sent @ false)) = &mut pending.scaler {
            *is_sent = true;
            return Some(event("scaler", connection));
        }
        // Encoding takes longer than the lock may be held.
        if let Some(history) = pending.history.take() {
            drop(pending);
            return Some(event("history", &history));
        }
        let status = pending.status.take()?;
        drop(pending);
        let json = encoder.encode(status);
        Some(Event::default().event("status").data(json))
    }

    fn pending(&self) -> MutexGuard<'_, PendingEvents> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingEvents {
    /// Sets the event `scaler`, unless the last one was the same.
    fn connection(&mut self, connection: Connection) {
        let last = self.scaler.as_ref();
        if last.is_none_or(|(last, _)| *last != connection) {
            self.scaler = Some((connection, false));
        }
    }
}
