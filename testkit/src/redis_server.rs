//! A Redis server of a test's own.

use std::io::ErrorKind;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::{TIMEOUT, free_addresses};

/// A `redis-server` process that keeps nothing on disk; it ends with the test.
pub struct RedisServer {
    child: Child,
    port: u16,
}

impl RedisServer {
    /// Starts one on a free port, and waits until it answers.
    pub async fn start() -> Self {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            // Somebody else may take the port before the server does: then it ends, and the next one is tried.
            let [port] = free_addresses().map(|address| address.port());
            let mut child = spawn(port);
            if answers(&mut child, port, deadline).await {
                return Self { child, port };
            }
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port, with nothing in it.
    pub async fn restart(&mut self) {
        let deadline = Instant::now() + TIMEOUT;
        self.child = spawn(self.port);
        while !answers(&mut self.child, self.port, deadline).await {
            self.child = spawn(self.port);
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16) -> Child {
    let spawned = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    match spawned {
        Err(error) if error.kind() == ErrorKind::NotFound => panic!(
            "redis-server was not found, and this test needs it. Install the package redis-server (Debian: apt-get \
             install redis-server), or run scripts/setup as root."
        ),
        spawned => spawned.unwrap(),
    }
}

/// Waits until the server answers; `false` when it has ended instead.
async fn answers(child: &mut Child, port: u16, deadline: Instant) -> bool {
    while !ping(port).await.unwrap_or(false) {
        assert!(
            Instant::now() < deadline,
            "no redis-server within {TIMEOUT:?}"
        );
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.try_wait().unwrap().is_none()
}

async fn ping(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).await?;
    Ok(answer == *b"+PONG\r\n")
}
