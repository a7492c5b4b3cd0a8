use std::time::Duration;

use axum::body::BodyDataStream;
use futures::StreamExt;

/// How much of a refused upload is read and thrown away, and for how long. A client that is still sending when its
/// connection is closed sees a reset instead of the answer.
const DRAINED_BYTES: usize = 64 * 1024 * 1024;
const DRAINED_FOR: Duration = Duration::from_secs(10);

/// Reads what is left of a refused body, within bounds, so that the client gets to read its answer.
pub async fn drain(mut body: BodyDataStream) {
    let reading = async {
        let mut drained = 0;
        while drained < DRAINED_BYTES {
            match body.next().await {
                Some(Ok(chunk)) => drained += chunk.len(),
                Some(Err(_)) | None => return,
            }
        }
    };
    if tokio::time::timeout(DRAINED_FOR, reading).await.is_err() {
        tracing::debug!("a refused upload was not read to its end");
    }
}
