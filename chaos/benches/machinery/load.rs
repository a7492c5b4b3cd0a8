//! Clients that send photos. They do as little as possible, since they share the cores with what is measured.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chaos::light;
use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// Photos that no other run has, encoded beforehand.
#[derive(Debug)]
pub struct Photos {
    requests: Vec<(Vec<u8>, String)>,
    next: AtomicUsize,
}

/// The requests of one run.
#[derive(Debug)]
pub struct Sent {
    pub elapsed: Duration,
    /// In ascending order.
    latencies: Vec<Duration>,
}

impl Photos {
    pub fn new(seed: u64, count: usize) -> Self {
        let request = |number| {
            let (name, photo) = (
                format!("{seed}-{number}"),
                light::photo(seed, number as u64),
            );
            let answer = format!("{name}:{}", light::name_of(&photo));
            (encode(&name, &photo), answer)
        };
        Self {
            requests: (0..count).map(request).collect(),
            next: AtomicUsize::new(0),
        }
    }

    fn next(&self) -> Option<&(Vec<u8>, String)> {
        self.requests.get(self.next.fetch_add(1, Ordering::Relaxed))
    }
}

impl Sent {
    fn new(began: Instant, mut latencies: Vec<Duration>) -> Self {
        latencies.sort();
        Self {
            elapsed: began.elapsed(),
            latencies,
        }
    }

    pub fn count(&self) -> usize {
        self.latencies.len()
    }

    pub fn rate(&self) -> f64 {
        self.count() as f64 / self.elapsed.as_secs_f64()
    }

    /// Returns the latency in ms that this share of the requests has at most.
    pub fn percentile_ms(&self, share: f64) -> f64 {
        let last = self.count().saturating_sub(1);
        let index = (share * last as f64).round() as usize;
        let latency = self.latencies.get(index).copied().unwrap_or_default();
        latency.as_secs_f64() * 1e3
    }
}

/// Sends photos for `time`, from so many clients of which each sends its next one after a response. Each answer is checked.
pub async fn closed_loop(
    gateway: SocketAddr,
    photos: Photos,
    clients: usize,
    time: Duration,
) -> anyhow::Result<Sent> {
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(connect(gateway).await?);
    }
    let photos = Arc::new(photos);
    let began = Instant::now();
    let mut sending = JoinSet::new();
    for mut connection in connections {
        let photos = Arc::clone(&photos);
        sending.spawn(async move {
            let mut latencies = Vec::new();
            while began.elapsed() < time {
                let (request, answer) = photos.next().context("there are too few photos")?;
                latencies.push(exchange(&mut connection, request, answer).await?);
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(sent) = sending.join_next().await {
        latencies.extend(sent??);
    }
    Ok(Sent::new(began, latencies))
}

/// Sends all photos at `rate` a second on average, at random times, without waiting for the responses before.
pub async fn open_loop(gateway: SocketAddr, photos: Photos, rate: f64) -> anyhow::Result<Sent> {
    let photos = Arc::new(photos);
    let idle = Arc::new(Mutex::new(Vec::new()));
    let mut random = rand::make_rng::<rand::rngs::Xoshiro256PlusPlus>();
    let began = tokio::time::Instant::now();
    let (mut at, mut sending) = (began, JoinSet::new());
    for _ in 0..photos.requests.len() {
        // Exponential gaps, as of independent clients.
        at += Duration::from_secs_f64(-(1.0 - random.random::<f64>()).ln() / rate);
        tokio::time::sleep_until(at).await;
        let (photos, idle) = (Arc::clone(&photos), Arc::clone(&idle));
        sending.spawn(async move {
            let kept = idle.lock().await.pop();
            let mut connection = match kept {
                Some(connection) => connection,
                None => connect(gateway).await?,
            };
            let (request, answer) = photos.next().context("there are too few photos")?;
            let latency = exchange(&mut connection, request, answer).await?;
            idle.lock().await.push(connection);
            anyhow::Ok(latency)
        });
    }
    let mut latencies = Vec::new();
    while let Some(sent) = sending.join_next().await {
        latencies.push(sent??);
    }
    Ok(Sent::new(began.into_std(), latencies))
}

pub async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn encode(name: &str, photo: &[u8]) -> Vec<u8> {
    let mut body = format!(
        "--photo\r\nContent-Disposition: form-data; name=\"inputFile\"; filename=\"{name}.png\"\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(photo);
    body.extend_from_slice(b"\r\n--photo--\r\n");
    let head = format!(
        "POST / HTTP/1.1\r\nhost: gateway\r\ncontent-type: multipart/form-data; boundary=photo\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

/// Sends a request and reads its response, whose body must end with `answer`.
pub async fn exchange(
    connection: &mut TcpStream,
    request: &[u8],
    answer: &str,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    connection.write_all(request).await?;
    let mut buffer = [0; 4096];
    let mut received = 0;
    loop {
        let read = connection.read(&mut buffer[received..]).await?;
        received += read;
        let text = str::from_utf8(&buffer[..received])?;
        ensure!(read > 0, "the gateway closed the connection after {text:?}");
        if is_whole(text) {
            let is_right = text.starts_with("HTTP/1.1 200 ") && text.trim_end().ends_with(answer);
            ensure!(
                is_right,
                "expected {answer:?}, the gateway responded: {text}"
            );
            return Ok(began.elapsed());
        }
    }
}

fn is_whole(response: &str) -> bool {
    let Some((head, body)) = response.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .and_then(|length| length.parse::<usize>().ok());
    length.is_some_and(|length| body.len() >= length)
}
