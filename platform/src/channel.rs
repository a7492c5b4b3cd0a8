//! gRPC channels, as every Muster service uses them.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};

use crate::tls::PeerTlsArgs;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns a channel to a Muster service that connects at the first call and reconnects by itself.
///
/// # Errors
/// When `url` is not a URL such as `http://127.0.0.1:8051`, or is an https one and `tls` lacks what that needs.
pub fn channel(url: &str, tls: &PeerTlsArgs) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned())?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    if endpoint.uri().scheme_str() != Some("https") {
        return Ok(endpoint.connect_lazy());
    }
    let connector = tls.connector()?;
    let connect = tower::service_fn(move |uri: http::Uri| {
        let connector = connector.clone();
        async move { connector.connect(&uri).await.map(TokioIo::new) }
    });
    Ok(endpoint.connect_with_connector_lazy(connect))
}
