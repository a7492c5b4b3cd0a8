//! What happens to every call around its service: it is counted, authenticated and may meet an injected fault.

use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use time::OffsetDateTime;
use tower::layer::layer_fn;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

use super::{Call, CallService, Input, Reply};
use crate::clock::Clock;
use crate::common_error::CommonError;
use crate::config::Authentication;
use crate::fault_injection::FaultInjection;
use crate::faults::{FaultOutcome, When};
use crate::metrics::CallMetrics;

/// Counts every call with the status of its reply.
pub fn count(metrics: Arc<CallMetrics>) -> impl Layer<CallService, Service = CallService> {
    layer(move |call, inner| {
        let metrics = Arc::clone(&metrics);
        async move {
            let operation = call.operation;
            let reply = inner.oneshot(call).await;
            metrics.count(operation, reply.as_ref().ok().map(Response::status));
            reply
        }
    })
}

/// Refuses calls without a valid signature.
pub fn authenticate(
    authentication: Authentication,
    clock: Clock,
) -> impl Layer<CallService, Service = CallService> {
    let authentication = Arc::new(authentication);
    layer(move |call, inner| {
        let refused = verify(&authentication, clock, &call).err();
        async move {
            match refused {
                Some(error) => Ok(error.response(call.operation.protocol)),
                None => inner.oneshot(call).await,
            }
        }
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
pub fn inject_faults(
    faults: Arc<FaultInjection>,
) -> impl Layer<CallService, Service = CallService> {
    layer(move |call, inner| {
        let protocol = call.operation.protocol;
        let fault = faults.draw(protocol.service(), call.operation.action);
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
            let (code, status, message) = match outcome {
                FaultOutcome::Reset => return Err(super::ConnectionReset),
                FaultOutcome::Error {
                    code,
                    status,
                    message,
                } => (code, status, message),
            };
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            Ok(CommonError::new(&code, status, message).response(protocol))
        }
    })
}

/// Returns a layer that handles each call with a function of the call and the inner service.
fn layer<F>(
    handle: impl Fn(Call, CallService) -> F + Clone + Send + Sync + 'static,
) -> impl Layer<CallService, Service = CallService>
where
    F: Future<Output = Reply> + Send + 'static,
{
    layer_fn(move |inner: CallService| {
        let handle = handle.clone();
        BoxCloneSyncService::new(service_fn(move |call| handle(call, inner.clone())))
    })
}
