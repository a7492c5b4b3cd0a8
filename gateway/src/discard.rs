//! Reads what is left of a refused upload. A client that is still sending when its connection is closed sees a reset
//! instead of the response.

use std::time::Duration;

use axum::body::BodyDataStream;
use futures::StreamExt;

const MAX_BYTES: usize = 64 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads and discards the rest of a body, up to 64 MiB and for up to 10 s.
pub async fn discard(mut body: BodyDataStream) {
    let reading = async {
        let mut discarded = 0;
        while discarded < MAX_BYTES {
            match body.next().await {
                Some(Ok(chunk)) => discarded += chunk.len(),
                Some(Err(_)) | None => return,
            }
        }
    };
    if tokio::time::timeout(TIMEOUT, reading).await.is_err() {
        tracing::debug!("a refused upload was not read to its end");
    }
}
