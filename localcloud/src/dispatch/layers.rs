//! What happens to every call around its service: it is counted, authenticated and may meet an injected fault.

use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use s3s::Body;
use time::OffsetDateTime;
use tower::layer::layer_fn;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{Call, ConnectionReset, Input};
use crate::clock::Clock;
use crate::common_error::CommonError;
use crate::config::Authentication;
use crate::fault_injection::FaultInjection;
use crate::faults::{FaultOutcome, When};
use crate::metrics::CallMetrics;

/// A service of calls that layers can wrap.
pub trait CallService:
    Service<Call, Response = Response<Body>, Error = ConnectionReset, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> CallService for S where
    S: Service<Call, Response = Response<Body>, Error = ConnectionReset, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Counts every call with the status of its reply.
pub fn count<S: CallService>(metrics: Arc<CallMetrics>) -> impl Layer<S, Service: CallService> {
    layer_fn(move |inner: S| {
        let metrics = Arc::clone(&metrics);
        service_fn(move |call: Call| {
            let (metrics, inner) = (Arc::clone(&metrics), inner.clone());
            async move {
                let operation = call.operation;
                let reply = inner.oneshot(call).await;
                metrics.count(operation, reply.as_ref().ok().map(Response::status));
                reply
            }
        })
    })
}

/// Refuses calls without a valid signature.
pub fn authenticate<S: CallService>(
    authentication: Authentication,
    clock: Clock,
) -> impl Layer<S, Service: CallService> {
    let authentication = Arc::new(authentication);
    layer_fn(move |inner: S| {
        let authentication = Arc::clone(&authentication);
        service_fn(move |call: Call| {
            let inner = inner.clone();
            let refused = verify(&authentication, clock, &call).err();
            async move {
                match refused {
                    Some(error) => Ok(error.response(call.operation.protocol)),
                    None => inner.oneshot(call).await,
                }
            }
        })
    })
}

fn verify(authentication: &Authentication, clock: Clock, call: &Call) -> Result<(), CommonError> {
    let Input::Read(parts, body) = &call.input else {
        // The s3s crate verifies S3's signatures, which may cover each chunk of a body.
        return Ok(());
    };
    let now = OffsetDateTime::UNIX_EPOCH + Duration::from_millis(clock.now());
    let protocol = call.operation.protocol;
    authentication
        .verify(parts, body, protocol.service().name(), now)
        .map_err(|error| CommonError::of_auth(&error, protocol))
}

/// Delays calls, and replaces their replies, as the faults in force demand.
pub fn inject_faults<S: CallService>(
    faults: Arc<FaultInjection>,
) -> impl Layer<S, Service: CallService> {
    layer_fn(move |inner: S| {
        let faults = Arc::clone(&faults);
        service_fn(move |call: Call| {
            let inner = inner.clone();
            let operation = call.operation;
            let protocol = operation.protocol;
            let fault = faults.draw(protocol.service(), operation.action);
            async move {
                if !fault.latency.is_zero() {
                    tokio::time::sleep(fault.latency).await;
                }
                let Some((when, outcome)) = fault.outcome else {
                    return inner.oneshot(call).await;
                };
                if when == When::After {
                    drop(inner.oneshot(call).await);
                }
                match outcome {
                    FaultOutcome::Reset => Err(ConnectionReset),
                    FaultOutcome::Error {
                        code,
                        status,
                        message,
                    } => {
                        let status =
                            StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
                        let error = CommonError::new(&code, status, message);
                        Ok(error.response(protocol))
                    }
                }
            }
        })
    })
}
