//! Clients that send a photo over and over. They do as little as possible, since they share the cores with the gateway.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// As a portrait of 500 pixels in JPEG.
const PHOTO_BYTES: usize = 30_000;

/// Connections that stay open between measurements.
#[derive(Debug)]
pub struct Load {
    clients: Vec<TcpStream>,
    request: std::sync::Arc<[u8]>,
}

impl Load {
    pub async fn connect(gateway: SocketAddr, clients: usize) -> anyhow::Result<Self> {
        let mut streams = Vec::new();
        for _ in 0..clients {
            let stream = TcpStream::connect(gateway).await?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
        Ok(Self {
            clients: streams,
            request: request().into(),
        })
    }

    /// Sends photos for `time`. Returns how many were answered, and how long it took.
    pub async fn run(&mut self, time: Duration) -> anyhow::Result<(usize, Duration)> {
        let began = Instant::now();
        let mut sending = JoinSet::new();
        for mut client in self.clients.drain(..) {
            let request = std::sync::Arc::clone(&self.request);
            sending.spawn(async move {
                let mut answered = 0;
                while began.elapsed() < time {
                    client.write_all(&request).await?;
                    receive(&mut client).await?;
                    answered += 1;
                }
                anyhow::Ok((client, answered))
            });
        }
        let mut total = 0;
        while let Some(sent) = sending.join_next().await {
            let (client, answered) = sent??;
            self.clients.push(client);
            total += answered;
        }
        Ok((total, began.elapsed()))
    }
}

fn request() -> Vec<u8> {
    let mut body = b"--photo\r\nContent-Disposition: form-data; name=\"inputFile\"; filename=\"a.jpg\"\r\n\r\n".to_vec();
    body.resize(body.len() + PHOTO_BYTES, b'x');
    body.extend(b"\r\n--photo--\r\n");
    let head = format!(
        "POST / HTTP/1.1\r\nhost: gateway\r\ncontent-type: multipart/form-data; boundary=photo\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// Reads a response, which comes in one piece.
async fn receive(client: &mut TcpStream) -> anyhow::Result<()> {
    let mut buffer = [0; 4096];
    let mut received = 0;
    loop {
        let read = client.read(&mut buffer[received..]).await?;
        received += read;
        ensure!(read > 0, "the gateway closed the connection");
        let text = str::from_utf8(&buffer[..received])?;
        ensure!(
            text.starts_with("HTTP/1.1 200 "),
            "the gateway responded: {text}"
        );
        if text.ends_with("a:somebody") {
            return Ok(());
        }
    }
}
