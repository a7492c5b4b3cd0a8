//! `GET /v1/watch`: what pages show live, as server-sent events.
//!
//! Each viewer has its own stream from the scaler, by its own key; the gateway stores nothing. A viewer that reads slowly misses
//! statuses, and delays no other viewer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures::future::OptionFuture;
use futures::{Stream, StreamExt, stream};
use platform::access::{Grant, Role, presented_key};
use platform::shutdown::CancellationToken;
use platform::token::Token;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::transport::Channel;

use super::Gateway;
use super::cross_site::refuse_cross_site;
use super::response::ResponseFormat;
use crate::error::{ErrorCode, RequestError};
use encoding::StatusEncoder;
use feed::Feed;

mod encoding;
mod feed;
mod history;
mod scaler_link;

/// Time between two events `traffic`. A viewer also notices by it that the gateway is there.
const TRAFFIC_INTERVAL: Duration = Duration::from_secs(1);

/// What all viewers share.
#[derive(Debug)]
pub struct Viewers {
    permits: Arc<Semaphore>,
    /// One of them leads.
    scalers: Arc<[Channel]>,
    encoder: StatusEncoder,
    /// Ends all viewers' streams, which would not end by themselves.
    shutdown: CancellationToken,
}

impl Viewers {
    pub fn new(most: usize, scalers: Vec<Channel>, shutdown: CancellationToken) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            scalers: scalers.into(),
            encoder: StatusEncoder::default(),
            shutdown,
        }
    }

    fn admit(&self) -> Result<OwnedSemaphorePermit, RequestError> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        permit.map_err(|_| {
            let message = "as many pages are open as the gateway allows; close one";
            RequestError::new(ErrorCode::Overloaded, message)
        })
    }
}

/// Handles `GET /v1/watch`.
pub async fn watch(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Response {
    let grant = gateway.authenticator.grant(&headers);
    match gateway.admit_viewer(&headers) {
        Ok(permit) => {
            let key = presented_key(&headers).and_then(|key| Token::parse(key).ok());
            Sse::new(events(gateway, key, grant, permit)).into_response()
        }
        Err(error) => {
            tracing::info!(code = error.code.name(), %error, "refused a viewer");
            ResponseFormat::Json.error(&error, None)
        }
    }
}

impl Gateway {
    fn admit_viewer(&self, headers: &HeaderMap) -> Result<OwnedSemaphorePermit, RequestError> {
        refuse_cross_site(headers, self.must_be_local)?;
        let allowed = self.authenticator.check(headers, Role::Operate);
        allowed.map_err(Status::from)?;
        self.viewers.admit()
    }
}

/// Returns a viewer's events until the shutdown, or until its key is revoked.
fn events(
    gateway: Arc<Gateway>,
    key: Option<Token>,
    grant: Option<Grant>,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    let feed = Arc::new(Feed::default());
    let scalers = Arc::clone(&gateway.viewers.scalers);
    let following = scaler_link::follow(scalers, key, Arc::clone(&feed));
    let following = AbortOnDropHandle::new(tokio::spawn(following));
    let shutdown = gateway.viewers.shutdown.clone().cancelled_owned();
    let end = async move {
        tokio::select! {
            () = shutdown => {}
            Some(_) = OptionFuture::from(grant.map(Grant::revoked)) => {}
        }
    };
    let scaler_events = stream::unfold((feed, Arc::clone(&gateway)), async |(feed, gateway)| {
        let event = feed.next(&gateway.viewers.encoder).await;
        Some((event, (feed, gateway)))
    });
    let events = stream::select(scaler_events, traffic(gateway)).take_until(end);
    events.map(move |event| {
        // They end with the stream.
        let _held = (&permit, &following);
        Ok(event)
    })
}

fn traffic(gateway: Arc<Gateway>) -> impl Stream<Item = Event> + Send {
    let mut ticks = tokio::time::interval(TRAFFIC_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    stream::unfold((ticks, gateway), async |(mut ticks, gateway)| {
        ticks.tick().await;
        Some((
            event("traffic", &gateway.traffic.report()),
            (ticks, gateway),
        ))
    })
}

fn event(name: &str, data: &impl Serialize) -> Event {
    let event = Event::default().event(name).json_data(data);
    event.expect("events hold only what JSON can hold")
}
