//! gRPC over TLS: which clients are accepted.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use platform::grpc::{self, ServerOptions};
use platform::shutdown::CancellationToken;
use platform::tls::{ClientCaArgs, PeerTlsArgs, Protocol, ServerTlsArgs};
use testkit::{Authority, Issued, listen};
use tokio::sync::watch;
use tokio_util::sync::DropGuard;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Starts a gRPC service at 127.0.0.1 with a certificate for it.
async fn serve(authority: &Authority, client_ca: Option<PathBuf>) -> (String, DropGuard) {
    let client_ca = ClientCaArgs {
        tls_client_ca: client_ca,
    };
    let options = ServerOptions {
        tls: authority
            .server()
            .acceptor(&client_ca, Protocol::Http2)
            .unwrap(),
        ..ServerOptions::unrestricted()
    };
    let (listener, url) = listen().await;
    let url = url.replace("http://", "https://");
    let shutdown = CancellationToken::new();
    let (_, ready) = watch::channel(true);
    tokio::spawn(grpc::serve(
        listener,
        options,
        ready,
        shutdown.clone(),
        &[],
        |_| {},
    ));
    (url, shutdown.drop_guard())
}

async fn is_answered(url: &str, tls: &PeerTlsArgs) -> bool {
    let channel = grpc::channel(url, tls).unwrap();
    let asked = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await;
    asked.is_ok()
}

#[tokio::test]
async fn only_clients_that_trust_the_authority_connect() {
    let (ours, other) = (Authority::generate(), Authority::generate());
    let (url, _stop) = serve(&ours, None).await;
    assert!(is_answered(&url, &ours.trusting()).await);
    assert!(!is_answered(&url, &other.trusting()).await);
    assert!(!is_answered(&url.replace("127.0.0.1", "localhost"), &ours.trusting()).await);
    assert!(!is_answered(&url.replace("https", "http"), &ours.trusting()).await);
    assert!(grpc::channel(&url, &PeerTlsArgs::default()).is_err());
}

#[tokio::test]
async fn mutual_tls_accepts_only_certificates_of_the_authority() {
    let (ours, services, other) = (
        Authority::generate(),
        Authority::generate(),
        Authority::generate(),
    );
    let (url, _stop) = serve(&services, Some(ours.ca())).await;
    let presenting = |of: &Authority| PeerTlsArgs {
        peer_ca: Some(services.ca()),
        ..of.client()
    };
    assert!(is_answered(&url, &presenting(&ours)).await);
    assert!(!is_answered(&url, &presenting(&other)).await);
    assert!(!is_answered(&url, &services.trusting()).await);
}

#[test]
fn errors_name_the_file() {
    let authority = Authority::generate();
    let Issued { cert, key } = authority.issue("127.0.0.1");
    let acceptor = |cert: &Path, key: &Path| {
        let args = ServerTlsArgs {
            tls_cert: Some(cert.to_owned()),
            tls_key: Some(key.to_owned()),
        };
        args.acceptor(&ClientCaArgs::default(), Protocol::Http1)
    };
    assert!(acceptor(&cert, &key).unwrap().is_some());
    let missing = authority.folder.path().join("missing.pem");
    for (cert, key, named) in [
        (&missing, &key, "missing.pem"),
        (&cert, &missing, "missing.pem"),
        (&key, &key, "key.pem"),
    ] {
        let error = acceptor(cert, key).unwrap_err();
        assert!(error.to_string().contains(named), "{error:#}");
    }
}
