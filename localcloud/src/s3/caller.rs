//! Who calls, as far as answers and events tell it.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Extensions, HeaderMap, Uri, header};
use uuid::Uuid;

/// One call of S3.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    pub request_id: String,
    /// What S3 calls `x-amz-id-2`.
    pub host_id: String,
    /// What the request is signed with; empty if it is not.
    pub access_key: String,
    /// The region that it is signed for.
    pub region: Option<String>,
    pub address: String,
}

/// The address at the other end of the connection, where the server has noted it.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub IpAddr);

impl Caller {
    /// Reads it from a request, whose signature need not have been verified.
    pub fn of(uri: &Uri, headers: &HeaderMap, extensions: &Extensions) -> Self {
        let [low, high] = [Uuid::new_v4(), Uuid::new_v4()].map(Uuid::into_bytes);
        let request_id: String = low[..8].iter().map(|byte| format!("{byte:02X}")).collect();
        let scope = scope(uri, headers).unwrap_or_default();
        let mut scope = scope.split('/');
        let access_key = scope.next().unwrap_or_default().to_owned();
        let address = match extensions.get::<PeerAddress>() {
            Some(PeerAddress(address)) => address.to_string(),
            None => String::new(),
        };
        Self {
            request_id,
            host_id: STANDARD.encode([low, high].concat()),
            access_key,
            region: scope.nth(1).map(str::to_owned),
            address,
        }
    }
}

/// `KEY/DATE/REGION/SERVICE/aws4_request`.
fn scope(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    if let Some(authorization) = headers.get(header::AUTHORIZATION) {
        let text = authorization.to_str().ok()?;
        let (_, scope) = text.split_once("Credential=")?;
        return scope.split(',').next().map(str::to_owned);
    }
    let mut pairs = uri.query()?.split('&');
    let credential = pairs.find_map(|pair| pair.strip_prefix("X-Amz-Credential="))?;
    Some(credential.replace("%2F", "/"))
}
