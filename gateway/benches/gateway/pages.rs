//! Open pages, which read what the gateway sends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::ensure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const EVENT: &[u8] = b"event: status";

/// Pages that are open until they are dropped.
#[derive(Debug)]
pub struct Pages {
    reading: JoinSet<()>,
    statuses: Arc<AtomicUsize>,
}

impl Pages {
    /// Opens pages, and waits until each has received its first status.
    pub async fn open(gateway: SocketAddr, count: usize) -> anyhow::Result<Self> {
        let statuses = Arc::new(AtomicUsize::new(0));
        let (first, mut firsts) = mpsc::channel(count);
        let mut reading = JoinSet::new();
        for _ in 0..count {
            let mut stream = TcpStream::connect(gateway).await?;
            stream
                .write_all(b"GET /v1/watch HTTP/1.1\r\nhost: gateway\r\n\r\n")
                .await?;
            let (statuses, first) = (Arc::clone(&statuses), first.clone());
            reading.spawn(async move {
                let mut first = Some(first);
                let mut buffer = vec![0; 1 << 16];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    // An event that is cut in two is missed, which is rare.
                    let found = count_statuses(&buffer[..read]);
                    statuses.fetch_add(found, Ordering::Relaxed);
                    if found > 0
                        && let Some(first) = first.take()
                    {
                        let _ = first.send(()).await;
                    }
                }
            });
        }
        drop(first);
        for _ in 0..count {
            ensure!(firsts.recv().await.is_some(), "a page received no status");
        }
        statuses.store(0, Ordering::Relaxed);
        Ok(Self { reading, statuses })
    }

    /// Closes the pages. Returns how many statuses they received since all were open.
    pub fn close(mut self) -> usize {
        self.reading.abort_all();
        self.statuses.load(Ordering::Relaxed)
    }
}

fn count_statuses(bytes: &[u8]) -> usize {
    let lines = bytes.split(|&byte| byte == b'\n');
    lines.filter(|line| *line == EVENT).count()
}
