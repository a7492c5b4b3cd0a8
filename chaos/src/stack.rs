//! The services as users run them: the local cloud boots the web instance, whose scaler boots workers. Four links have a proxy:
//! client to gateway, gateway to front, workers to scaler, and all to the local cloud. The connections to Redis, and the
//! gateway's to the scaler, are direct.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use platform::aws::{Aws, AwsArgs};
use tokio::time::Instant;

use crate::processes::{self, Process};
use crate::proxy::Proxy;
use crate::schedule::{Link, Service};

mod settings;

const PREFIX: &str = "chaos";
const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Longest time for the local cloud to end its instances.
const END_WITHIN: Duration = Duration::from_secs(20);

/// What the stack is made of.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// The folder of the programs.
    pub bin: PathBuf,
    /// The repository, which has scripts and policies.
    pub root: PathBuf,
    /// Where everything is written. It is emptied first.
    pub folder: PathBuf,
    pub worker: WorkerProgram,
    pub max_workers: u32,
    /// A scaling policy's name.
    pub policy: String,
    /// How long the scaler keeps idle workers, as its flag.
    pub keep_idle: &'static str,
    pub spot: bool,
}

/// What an instance of a worker runs.
#[derive(Debug, Clone)]
pub enum WorkerProgram {
    /// `worker-light`, with the time of a photo.
    Light(Duration),
    /// `worker serve` with this engine, this model and this gallery.
    Real {
        engine: String,
        models: PathBuf,
        gallery: PathBuf,
    },
}

/// A running stack. Everything ends when it is dropped.
#[derive(Debug)]
pub struct Stack {
    options: StackOptions,
    cloud: Option<Child>,
    redis: Option<Child>,
    ports: Ports,
    proxies: Proxies,
    /// The key of all callers.
    pub key: String,
}

/// Free ports when the stack was started.
#[derive(Debug, Clone, Copy)]
struct Ports {
    http: u16,
    front: u16,
    scaler: u16,
    cloud: u16,
    redis: u16,
    front_admin: u16,
    scaler_admin: u16,
    gateway_admin: u16,
}

#[derive(Debug)]
struct Proxies {
    gateway: Proxy,
    front: Proxy,
    scaler: Proxy,
    cloud: Proxy,
}

impl Stack {
    /// Starts everything, and returns when the services are ready.
    ///
    /// # Errors
    /// When a program is missing or does not become ready.
    pub async fn start(options: StackOptions) -> anyhow::Result<Self> {
        let _ = std::fs::remove_dir_all(&options.folder);
        std::fs::create_dir_all(options.folder.join("cloud"))?;
        let ports = Ports::free()?;
        let proxies = Proxies {
            gateway: Proxy::start(local(ports.http)).await?,
            front: Proxy::start(local(ports.front)).await?,
            scaler: Proxy::start(local(ports.scaler)).await?,
            cloud: Proxy::start(local(ports.cloud)).await?,
        };
        let mut stack = Self {
            options,
            cloud: None,
            redis: None,
            ports,
            proxies,
            key: String::new(),
        };
        stack.key = stack.add_key("chaos")?;
        let write =
            |name: &str, text: String| std::fs::write(stack.options.folder.join(name), text);
        write("worker-user-data", stack.worker_user_data())?;
        write("localcloud.toml", stack.cloud_config())?;
        stack.start_redis()?;
        stack.start_cloud()?;
        stack.until_ready().await?;
        Ok(stack)
    }

    /// Returns the address to post photos to, through a proxy.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.proxies.gateway.address())
    }

    /// Returns the gateway's own address.
    #[must_use]
    pub fn direct_url(&self) -> String {
        format!("http://{}", local(self.ports.http))
    }

    #[must_use]
    pub fn proxy(&self, link: Link) -> &Proxy {
        match link {
            Link::ClientToGateway => &self.proxies.gateway,
            Link::GatewayToFront => &self.proxies.front,
            Link::WorkerToScaler => &self.proxies.scaler,
            Link::ServicesToCloud => &self.proxies.cloud,
        }
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.options.folder
    }

    /// Returns clients for the local cloud itself, past the proxy.
    pub async fn aws(&self) -> Aws {
        let args = AwsArgs {
            endpoint_url: Some(self.cloud_url()),
            region: Some("us-east-1".to_owned()),
            prefix: PREFIX.to_owned(),
        };
        Aws::connect_as(&args, "test", "test").await
    }

    #[must_use]
    pub fn names(&self) -> proto::Names {
        proto::Names::new(PREFIX)
    }

    #[must_use]
    pub fn cloud_url(&self) -> String {
        format!("http://{}", local(self.ports.cloud))
    }

    /// Returns where a service says whether it is ready.
    #[must_use]
    pub fn readiness_url(&self, service: Service) -> Option<String> {
        let port = match service {
            Service::Front => self.ports.front_admin,
            Service::Gateway => self.ports.gateway_admin,
            Service::Scaler => self.ports.scaler_admin,
            Service::Worker | Service::Redis | Service::Localcloud => return None,
        };
        Some(format!("http://{}/readyz", local(port)))
    }

    /// Returns the processes of a service, oldest first.
    #[must_use]
    pub fn processes(&self, service: Service) -> Vec<Process> {
        let of_child = |child: &Option<Child>| {
            let child = child.as_ref();
            child
                .map(|child| Process::new(child.id()))
                .into_iter()
                .collect()
        };
        let programs: &[&str] = match service {
            Service::Localcloud => return of_child(&self.cloud),
            Service::Redis => return of_child(&self.redis),
            Service::Front => &["front"],
            Service::Gateway => &["gateway"],
            Service::Scaler => &["scaler"],
            Service::Worker => &["worker", "worker-torch", "worker-light"],
        };
        let endpoint = format!("AWS_ENDPOINT_URL=http://{}", self.proxies.cloud.address());
        processes::running(programs, &endpoint)
    }

    /// Adds an API key with all roles, and returns it.
    ///
    /// # Errors
    /// When the program `gateway` fails.
    pub fn add_key(&self, name: &str) -> anyhow::Result<String> {
        let arguments = ["add", name, "--role", "recognize,operate"];
        let key = self.keys(&arguments)?;
        Ok(key.trim().to_owned())
    }

    /// # Errors
    /// When the program `gateway` fails.
    pub fn remove_key(&self, name: &str) -> anyhow::Result<()> {
        self.keys(&["remove", name]).map(drop)
    }

    /// Replaces the gallery's file by itself, as an enrolment does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn renew_gallery(&self) -> anyhow::Result<()> {
        if let WorkerProgram::Real { gallery, .. } = &self.options.worker {
            let copy = gallery.with_extension("new");
            std::fs::copy(gallery, &copy)?;
            std::fs::rename(copy, gallery)?;
        }
        Ok(())
    }

    fn keys(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.program("gateway")?;
        command
            .arg("keys")
            .args(arguments)
            .arg("--api-keys")
            .arg(self.key_file());
        let output = command.output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.success(),
            "gateway keys {}: {text}",
            arguments.join(" ")
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts the local cloud, also again after its death. It has its data from before.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start_cloud(&mut self) -> anyhow::Result<()> {
        let folder = &self.options.folder;
        let mut command = self.program("localcloud")?;
        command
            .arg("--listen")
            .arg(local(self.ports.cloud).to_string())
            .arg("--data")
            .arg(folder.join("cloud"))
            .arg("--config")
            .arg(folder.join("localcloud.toml"))
            .args([
                "--max-instances",
                &(self.options.max_workers + 10).to_string(),
            ])
            .args(["--start-interval", "0.02", "--ec2-limits", "none"])
            .env("NO_COLOR", "1");
        // Instances inherit the environment: none of the user's settings may reach them.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy().to_lowercase();
            if ["muster_", "aws_", "otel_", "localcloud_"]
                .iter()
                .any(|it| text.starts_with(it))
                || text.ends_with("_proxy")
            {
                command.env_remove(name);
            }
        }
        self.cloud = Some(self.spawn(command, "localcloud.log")?);
        Ok(())
    }

    /// Starts Redis, also again after its death, with nothing in it.
    ///
    /// # Errors
    /// When redis-server is not installed.
    pub fn start_redis(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--port", &self.ports.redis.to_string()]);
        self.redis = Some(self.spawn(command, "redis.log")?);
        Ok(())
    }

    /// Waits for a child that was killed, so that it leaves no zombie.
    pub fn reap(&mut self, service: Service) {
        let child = match service {
            Service::Redis => &mut self.redis,
            _ => &mut self.cloud,
        };
        if let Some(mut child) = child.take() {
            let _ = child.wait();
        }
    }

    fn spawn(&self, mut command: Command, log: &str) -> anyhow::Result<Child> {
        let mut options = std::fs::OpenOptions::new();
        let log = options
            .create(true)
            .append(true)
            .open(self.options.folder.join(log))?;
        // A group of its own: Ctrl-C must not reach it before this program ends it.
        let command = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let started = command.spawn();
        started.with_context(|| format!("cannot start {}", command.get_program().display()))
    }

    fn program(&self, name: &str) -> anyhow::Result<Command> {
        let program = self.options.bin.join(name);
        ensure!(
            program.exists(),
            "{} is missing: build it first",
            program.display()
        );
        Ok(Command::new(program))
    }

    /// Waits until front, gateway and scaler are ready.
    ///
    /// # Errors
    /// When they are not after a minute.
    pub async fn until_ready(&self) -> anyhow::Result<()> {
        let client = http_client();
        let give_up_at = Instant::now() + READY_WITHIN;
        for service in [Service::Front, Service::Scaler, Service::Gateway] {
            let url = self.readiness_url(service).unwrap_or_default();
            while !is_ready(&client, &url).await {
                let folder = self.options.folder.display();
                ensure!(
                    Instant::now() < give_up_at,
                    "{service:?} is not ready; the logs are in {folder}"
                );
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    fn key_file(&self) -> PathBuf {
        self.options.folder.join("api-keys.toml")
    }
}

impl Drop for Stack {
    #[allow(
        clippy::disallowed_methods,
        reason = "a drop cannot await, and nothing else runs any more"
    )]
    fn drop(&mut self) {
        if let Some(mut cloud) = self.cloud.take() {
            // It ends its instances.
            Process::new(cloud.id()).signal(processes::TERM);
            let give_up_at = std::time::Instant::now() + END_WITHIN;
            while matches!(cloud.try_wait(), Ok(None)) && std::time::Instant::now() < give_up_at {
                std::thread::sleep(POLL);
            }
            let _ = cloud.kill();
            let _ = cloud.wait();
        }
        if let Some(mut redis) = self.redis.take() {
            let _ = redis.kill();
            let _ = redis.wait();
        }
    }
}

impl Ports {
    /// Finds ports that nothing listens on. All are held until the last one is found.
    fn free() -> std::io::Result<Self> {
        let mut held = Vec::new();
        let mut next = || {
            let listener = StdListener::bind("127.0.0.1:0")?;
            let port = listener.local_addr()?.port();
            held.push(listener);
            std::io::Result::Ok(port)
        };
        Ok(Self {
            http: next()?,
            front: next()?,
            scaler: next()?,
            cloud: next()?,
            redis: next()?,
            front_admin: next()?,
            scaler_admin: next()?,
            gateway_admin: next()?,
        })
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Returns a client that ignores the machine's proxy settings.
///
/// # Panics
/// Never: its settings are valid.
#[must_use]
pub fn http_client() -> reqwest::Client {
    // reqwest needs a TLS provider even for plain HTTP. It may be installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .no_proxy()
        // Shorter than the gateway's, so that no request meets the end of its connection.
        .pool_idle_timeout(Duration::from_secs(10))
        .build();
    client.expect("the settings are valid")
}

/// Returns whether a service says that it is ready.
pub async fn is_ready(client: &reqwest::Client, url: &str) -> bool {
    let response = client.get(url).timeout(Duration::from_secs(1)).send().await;
    response.is_ok_and(|response| response.status().is_success())
}
