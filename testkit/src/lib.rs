//! What the tests of several crates share. Everything panics on failure, as a test does.
//!
//! - [`LocalCloud`]: localcloud in the test's process.
//! - [`Program`]: a program of the build in a process of its own.
//! - [`Services`]: front, gateway, scaler and worker as programs, with their logs.
//! - [`Answer`]: what the gateway answers.
//! - [`RedisServer`]: a `redis-server` process.
//! - [`Authority`]: a certificate authority.
//! - [`samples`]: the model and the photos that set-up fetched, and a gallery of them.
//! - [`assert_generated`]: parts of docs that are made from definitions in the code.
//! - [`median`], [`write_figures`]: what benches measured.
//! - [`free_addresses`], [`cpu_seconds`], [`processor`]: the machine.
//! - [`eventually`], [`listen`], [`parse`], [`http_client`], [`upload`] and the like: the rest.

#![allow(
    clippy::unwrap_used,
    missing_debug_implementations,
    reason = "a test panics on failure and prints no kit"
)]

mod answer;
mod authority;
mod cloud;
mod docs;
mod figures;
mod machine;
mod program;
mod redis_server;
pub mod samples;
mod service;

use std::time::{Duration, Instant};

use clap::{Args, Command, FromArgMatches};
use platform::queue::QueueAttributes;
use reqwest::multipart::{Form, Part};
use tokio::net::TcpListener;

pub use answer::Answer;
pub use authority::{Authority, Issued};
pub use cloud::{LocalCloud, aws};
pub use docs::assert_generated;
pub use figures::{median, write_figures};
pub use machine::{cpu_seconds, free_addresses, processor};
pub use program::{Program, program, programs};
pub use redis_server::RedisServer;
pub use service::{Service, Services};

/// How long a test waits for a condition. No test takes that long unless it fails.
pub const TIMEOUT: Duration = Duration::from_secs(120);

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Polls until the condition holds; panics after [`TIMEOUT`].
#[track_caller]
pub fn eventually(
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        while !condition().await {
            assert!(
                start.elapsed() < TIMEOUT,
                "{caller}: not within {TIMEOUT:?}: {what}"
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

/// Listens on a free port of the loopback interface; returns the listener and its `http://` URL.
pub async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// Parses a service's configuration as its command line does.
pub fn parse<C: Args + FromArgMatches>(arguments: &[&str]) -> C {
    let command = C::augment_args(Command::new("test"));
    let matches = command
        .try_get_matches_from(["test"].iter().chain(arguments))
        .unwrap();
    C::from_arg_matches(&matches).unwrap()
}

/// Returns a client that ignores the machine's proxy settings.
pub fn http_client() -> reqwest::Client {
    // reqwest needs a TLS provider even for plain HTTP. It may be installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Waits until the gateway at this URL is ready.
pub async fn until_ready(url: &str) {
    let (client, url) = (http_client(), format!("{url}/readyz"));
    eventually("the gateway is ready", async || {
        let response = client.get(&url).send().await;
        response.is_ok_and(|response| response.status().is_success())
    })
    .await;
}

/// Returns a form with a photo or a clip as `inputFile`.
pub fn upload(file_name: &str, file: Vec<u8>) -> Form {
    let part = Part::bytes(file).file_name(file_name.to_owned());
    Form::new().part("inputFile", part)
}

/// Returns a queue's attributes with nothing but a visibility timeout.
pub fn plain_queue(visibility_timeout: Duration) -> QueueAttributes {
    QueueAttributes {
        visibility_timeout,
        maximum_message_size: None,
        retention: None,
        redrive: None,
    }
}
