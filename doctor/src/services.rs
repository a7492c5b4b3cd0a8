//! Gateway and front: whether they answer and are ready, and otherwise what has their ports.

use std::error::Error;

use anyhow::Context;
use platform::grpc;
use platform::preflight::Finding;
use platform::preflight::Verdict::{Fail, Fine};
use reqwest::Url;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::{DoctorArgs, REPLY_TIMEOUT, finding, port};

pub(crate) const NO_REPLY: &str = "no reply within 5 s";

/// Returns an HTTP client that trusts the services' authority, and ignores proxies for addresses of this machine.
pub(crate) fn client(args: &DoctorArgs) -> anyhow::Result<reqwest::Client> {
    // It may be installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder().timeout(REPLY_TIMEOUT);
    if args.is_local() {
        builder = builder.no_proxy();
    }
    if let Some(file) = &args.tls.peer_ca {
        let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&pem)?);
    }
    Ok(builder.build()?)
}

pub(crate) async fn gateway(args: &DoctorArgs) -> Finding {
    let (url, check) = (args.url.trim_end_matches('/'), "gateway");
    let client = match client(args) {
        Ok(client) => client,
        Err(error) => return finding(check, Fail(format!("{error:#}"))),
    };
    let get = async |path: &str| client.get(format!("{url}{path}")).send().await;
    let alive = match get("/healthz").await {
        Ok(reply) => reply.status().is_success(),
        Err(error) => return finding(check, Fail(silent("gateway", url, &cause(&error), args))),
    };
    finding(
        check,
        match get("/readyz").await {
            Ok(reply) if alive && reply.status().is_success() => Fine(format!("{url} is ready")),
            Ok(reply) if alive && reply.status().as_u16() == 503 => Fail(format!(
                "{url} is up, but not ready: it cannot reach front; see the line about front, and its MUSTER_FRONT"
            )),
            _ => Fail(format!(
                "{url} is not a gateway of Muster: {}",
                taken("gateway", url, args)
            )),
        },
    )
}

/// Asks front's health, which needs no key.
pub(crate) async fn front(args: &DoctorArgs) -> Finding {
    let (url, check) = (args.front.as_str(), "front");
    let channel = match grpc::channel(url, &args.tls) {
        Ok(channel) => channel,
        Err(error) => {
            return finding(
                check,
                Fail(format!("{error:#}: check MUSTER_FRONT and MUSTER_PEER_CA")),
            );
        }
    };
    let mut health = HealthClient::new(channel);
    let call = health.check(HealthCheckRequest::default());
    let reply = tokio::time::timeout(REPLY_TIMEOUT, call).await;
    let reply = reply.unwrap_or_else(|_| Err(Status::deadline_exceeded(NO_REPLY)));
    finding(
        check,
        match reply.map(|reply| reply.into_inner().status()) {
            Ok(ServingStatus::Serving) => Fine(format!("{url} is ready")),
            Ok(_) => Fail(format!(
                "{url} is up, but not ready: it cannot make or read its buckets and queues; the lines above and its log say why"
            )),
            Err(error) => Fail(unreachable("front", url, &error, args)),
        },
    )
}

/// Says why a gRPC service does not reply.
pub(crate) fn unreachable(service: &str, url: &str, error: &Status, args: &DoctorArgs) -> String {
    match error.code() {
        Code::Unauthenticated | Code::PermissionDenied => format!(
            "{url} refuses: {}: set MUSTER_API_KEY to a key with the role operate",
            error.message()
        ),
        Code::Unimplemented => format!(
            "{url} is not {service} of Muster: {}",
            taken(service, url, args)
        ),
        _ if error.source().is_none() => silent(service, url, error.message(), args),
        _ => silent(service, url, &cause(error), args),
    }
}

/// Says why there is no connection, by who listens on the port.
fn silent(service: &str, url: &str, cause: &str, args: &DoctorArgs) -> String {
    match port_here(url).map(port::listener) {
        Some(None) => format!("nothing listens at {url}: {}", args.start(service)),
        Some(Some(program)) if program.starts_with(service) => format!(
            "{url} is {program}, but does not answer: {cause}: restart it, or check TLS (https://, MUSTER_PEER_CA); its log may say why"
        ),
        Some(Some(_)) => format!(
            "{url} is not {service} of Muster: {}",
            taken(service, url, args)
        ),
        None => format!("{url} does not answer: {cause}: {}", args.start(service)),
    }
}

fn taken(service: &str, url: &str, args: &DoctorArgs) -> String {
    let program = port_here(url).and_then(port::listener);
    let program = program.unwrap_or_else(|| "another program".to_owned());
    let port = match service {
        "gateway" => "HTTP_PORT",
        "front" => "FRONT_PORT",
        _ => "SCALER_PORT",
    };
    match args.is_local() {
        true => format!(
            "{program} has its port: end that, or choose another port ({port} of `make up`)"
        ),
        false => format!("{program} has its port: end that, or set the service's listen address"),
    }
}

/// Returns the port of an address of this machine.
fn port_here(url: &str) -> Option<u16> {
    let url = Url::parse(url).ok()?;
    let is_here = matches!(url.host_str()?, "127.0.0.1" | "localhost" | "[::1]");
    is_here.then(|| url.port_or_known_default())?
}

/// Returns the innermost message of an error, which says more than the outer ones.
fn cause(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
