//! Calls of front's `muster.v1.Recognizer`.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use platform::access::called_with;
use platform::token::Token;
use proto::v1::RecognizeRequest;
use proto::v1::recognizer_client::RecognizerClient;
use tonic::Code;
use tonic::transport::Channel;

use super::{SendError, first_line, not_connected};
use crate::target::TargetArgs;

/// Calls take turns on these connections, so that one connection's flow control does not limit the rate.
const CONNECTIONS: usize = 4;

#[derive(Debug, Clone)]
pub struct Grpc {
    clients: Vec<RecognizerClient<Channel>>,
    next: Arc<AtomicUsize>,
    key: Option<Token>,
    timeout: Duration,
}

impl Grpc {
    pub fn new(target: &TargetArgs) -> anyhow::Result<Self> {
        let url = &target.url;
        // grpc://host:port and grpcs://host:port.
        let scheme = url.scheme().replace("grpc", "http");
        let address = url.as_str().replacen(url.scheme(), &scheme, 1);
        let connect = || platform::grpc::channel(&address, &target.tls).map(RecognizerClient::new);
        Ok(Self {
            clients: (0..CONNECTIONS)
                .map(|_| connect())
                .collect::<anyhow::Result<_>>()
                .with_context(|| format!("{url} cannot be called"))?,
            next: Arc::default(),
            key: target.key.key()?,
            timeout: target.timeout,
        })
    }

    pub async fn call(&self, request: RecognizeRequest) -> Result<String, SendError> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.clients.len();
        let mut client = self.clients[turn].clone();
        let mut request = called_with(self.key.as_ref(), request);
        request.set_timeout(self.timeout);
        let response = tokio::time::timeout(self.timeout, client.recognize(request))
            .await
            .map_err(|_| SendError::Timeout)?;
        match response {
            Ok(response) => {
                let response = response.into_inner();
                let name = response.recognition.unwrap_or_default().name;
                Ok(format!("{}:{name}", response.stem))
            }
            // A status that the server sent has no source.
            Err(status) if status.code() == Code::Unavailable && status.source().is_some() => {
                Err(not_connected())
            }
            Err(status) => Err(SendError::Grpc {
                code: status.code(),
                message: first_line(status.message()),
            }),
        }
    }
}
