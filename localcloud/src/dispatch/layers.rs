//! What happens to every call around its service: it is counted, authenticated and authorized, and may meet an
//! injected fault.

use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use time::OffsetDateTime;
use tower::layer::layer_fn;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

use super::{Call, CallService, DispatchResult, Input, Services, account_request};
use crate::clock::Clock;
use crate::common_error::CommonError;
use crate::ec2::Params;
use crate::fault_injection::FaultInjection;
use crate::faults::{FaultOutcome, When};
use crate::iam::{Access, Caller, Iam};
use crate::lambda::LambdaCall;
use crate::metrics::CallMetrics;
use crate::protocol::Protocol;
use crate::route::form;
use crate::sqs::{SqsCall, SqsError};

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
pub fn authenticate(iam: Arc<Iam>, clock: Clock) -> impl Layer<CallService, Service = CallService> {
    layer(move |mut call, inner| {
        let caller = verify(&iam, clock, &call);
        async move {
            match caller {
                Err(error) => Ok(error.response(call.operation.protocol)),
                Ok(caller) => {
                    call.caller = caller;
                    inner.oneshot(call).await
                }
            }
        }
    })
}

fn verify(iam: &Iam, clock: Clock, call: &Call) -> Result<Caller, CommonError> {
    let Input::Read(parts, body) = &call.input else {
        // The s3s crate verifies S3's signatures, which may cover each chunk of a body.
        return Ok(Caller::Account);
    };
    let now = OffsetDateTime::UNIX_EPOCH + Duration::from_millis(clock.now());
    let protocol = call.operation.protocol;
    iam.verify(parts, body, protocol.service().name(), now)
        .map_err(|error| CommonError::of_auth(&error, protocol))
}

/// Refuses calls of roles that their policies do not allow.
pub fn authorize(
    iam: Arc<Iam>,
    services: Arc<Services>,
) -> impl Layer<CallService, Service = CallService> {
    layer(move |call, inner| {
        let refused = check(&iam, &services, &call).err();
        async move {
            match refused {
                Some(error) => Ok(error.response(call.operation.protocol)),
                None => inner.oneshot(call).await,
            }
        }
    })
}

fn check(iam: &Iam, services: &Services, call: &Call) -> Result<(), CommonError> {
    let (Caller::Role(_), Input::Read(parts, body)) = (&call.caller, &call.input) else {
        return Ok(());
    };
    let action = call.operation.action;
    let protocol = call.operation.protocol;
    let authorize = |accesses: &[Access]| {
        iam.authorize(&call.caller, accesses)
            .map_err(|denied| CommonError::of_denied(&denied, protocol))
    };
    let unreadable = |error: SqsError| {
        let code = match protocol {
            Protocol::SqsJson => error.shape().rsplit('#').next().unwrap_or_default(),
            _ => error.query_code(),
        };
        CommonError::new(code, error.status(), error.to_string())
    };
    let accesses = match protocol {
        Protocol::S3 => return Ok(()),
        Protocol::SqsJson => {
            let call = SqsCall::of_json(body).map_err(unreadable)?;
            call.accesses(iam.region(), action)
        }
        Protocol::SqsQuery => {
            let call = SqsCall::of_form(form(parts, body), parts.uri.path());
            call.map_err(unreadable)?.accesses(iam.region(), action)
        }
        Protocol::Ec2 => match Params::parse(form(parts, body)) {
            Ok(params) => services.ec2.accesses(action, &params),
            // The call itself is refused.
            Err(_) => return Ok(()),
        },
        Protocol::Lambda => {
            let call = LambdaCall::of(parts, body);
            authorize(&services.lambda.accesses(&call))?;
            let granted = services.lambda.check_grants(&call);
            return granted.map_err(|error| error.common());
        }
        protocol => {
            let (action, request) = account_request(protocol, parts, body);
            let account = &services.account;
            account.accesses(protocol.service(), &action, &request)
        }
    };
    authorize(&accesses)
}

/// Injects the faults in force: delays calls, and replaces their replies.
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
    F: Future<Output = DispatchResult> + Send + 'static,
{
    layer_fn(move |inner: CallService| {
        let handle = handle.clone();
        BoxCloneSyncService::new(service_fn(move |call| handle(call, inner.clone())))
    })
}
