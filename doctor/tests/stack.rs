//! The program `doctor`, on a stack in which one thing after the other is broken. Needs the programs (`make test` builds
//! them).

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use platform::aws::Aws;
use platform::queue::QueueAttributes;
use platform::tls::PeerTlsArgs;
use proto::Names;
use proto::v1::PauseRequest;
use proto::v1::scaler_client::ScalerClient;
use testkit::{LocalCloud, Service, Services, eventually, plain_queue, program, samples};
use tokio::process::Command;

const PREFIX: &str = "ill";
const TOKEN: &str = "correct-horse";

/// Front, gateway and scaler on a local cloud.
struct Stack {
    aws: Aws,
    names: Names,
    cloud: LocalCloud,
    urls: [String; 3],
    front: Service,
    _others: [Service; 2],
    /// Programs in name only, and the scaler's token.
    folder: tempfile::TempDir,
}

impl Stack {
    /// Ready, with no worker.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for program in ["front", "gateway", "scaler", "worker", "localcloud"] {
            std::fs::write(folder.path().join(program), "").unwrap();
        }
        let token = folder.path().join("token");
        std::fs::write(&token, TOKEN).unwrap();

        let cloud = LocalCloud::start(localcloud::Config::default()).await;
        let aws = cloud.aws(PREFIX).await;
        let names = Names::new(PREFIX);
        let services = Services::new(&cloud.url, PREFIX, &[]);
        let reply_queue = names.reply_queue();
        let arguments = ["--reply-queue", &reply_queue];
        let (front, front_url) = services.listen("front", &arguments).await;
        let to_front = ["--front", &front_url];
        let (gateway, url) = services.listen("gateway", &to_front).await;
        let token_file = format!("--token-file={}", token.display());
        let arguments = [&to_front[..], &["--preflight=off", &token_file]].concat();
        let (scaler, scaler_url) = services.listen("scaler", &arguments).await;

        let urls = [url, front_url, scaler_url];
        let stack = Self {
            aws,
            names,
            cloud,
            urls,
            front,
            _others: [gateway, scaler],
            folder,
        };
        stack
            .until("nothing fails", &[], |lines| !lines.contains("FAIL"))
            .await;
        stack
    }

    /// The program with this stack's addresses, and `more`.
    async fn doctor(&self, more: &[&str]) -> Output {
        self.command(more).output().await.unwrap()
    }

    fn command(&self, more: &[&str]) -> Command {
        let [url, front, scaler] = &self.urls;
        let defaults = [
            ("--url", url.as_str()),
            ("--front", front),
            ("--scaler", scaler),
            ("--prefix", PREFIX),
            ("--engine", "native"),
            ("--bin", self.folder.path().to_str().unwrap()),
            ("--aws-endpoint-url", &self.cloud.url),
            ("--aws-region", "us-east-1"),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_doctor"));
        for (name, value) in defaults {
            if !more.contains(&name) {
                command.args([name, value]);
            }
        }
        command
            .args(more)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("MUSTER_API_KEY", TOKEN)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .kill_on_drop(true);
        command
    }

    /// Runs the program until its lines are as wanted; returns them.
    async fn until(
        &self,
        what: &str,
        more: &[&str],
        mut wanted: impl FnMut(&str) -> bool,
    ) -> Output {
        let mut last = None;
        eventually(what, async || {
            let output = self.doctor(more).await;
            let text = text(&output);
            println!("{text}");
            let is_it = wanted(&text);
            last = Some(output);
            is_it
        })
        .await;
        last.unwrap()
    }

    /// Asserts that a line which begins so appears, and that the program then fails if the line says so.
    async fn finds(&self, begin: &str, more: &[&str]) {
        let output = self
            .until(begin, more, |text| {
                text.lines().any(|line| line.starts_with(begin))
            })
            .await;
        let fails = text(&output).lines().any(|line| line.starts_with("FAIL"));
        assert_eq!(
            output.status.code(),
            Some(i32::from(fails)),
            "{}",
            text(&output)
        );
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
async fn where_all_is_well_nothing_fails() {
    let stack = Stack::start().await;
    let output = stack.doctor(&[]).await;
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for begin in [
        "ok    programs: ",
        "ok    endpoint: ",
        "ok    clock: agrees",
        "ok    credentials: ",
        "ok    buckets: ill-in-bucket, ill-out-bucket, ill-scaler-bucket exist",
        "ok    request queue: ill-req-queue: 0 messages wait",
        "ok    reply queue: ill-resp-queue",
        "ok    dead letters: none",
        "ok    front: ",
        "ok    gateway: ",
        "ok    scaler: ",
        "ok    demand: front reports 0 unanswered",
        "ok    fleet: 0 instances",
        "ok    boots: ",
        "ok    workers: 0 at work",
        "none of ",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(begin)),
            "{begin}\n{text}"
        );
    }
}

#[tokio::test]
async fn queues_that_are_missing_or_set_otherwise_are_named() {
    let stack = Stack::start().await;
    let (aws, names) = (&stack.aws, &stack.names);
    let settings = |maximum_message_size| QueueAttributes {
        maximum_message_size: Some(maximum_message_size),
        ..plain_queue(Duration::from_secs(30))
    };
    aws.ensure_queue(&names.request_queue(), &settings(2048))
        .await
        .unwrap();
    stack
        .finds(
            "FAIL  request queue: ill-req-queue takes messages of 2048 bytes instead of 1024",
            &[],
        )
        .await;

    aws.queue(&names.dead_letter_queue())
        .await
        .unwrap()
        .send("a job".to_owned())
        .await
        .unwrap();
    stack
        .finds("warn  dead letters: 1 in ill-req-dead-letter-queue", &[])
        .await;

    // Front would make them again.
    stack.front.program.terminate();
    stack
        .finds("FAIL  front: nothing listens at http://127.0.0.1:", &[])
        .await;
    for queue in [names.reply_queue(), names.request_queue()] {
        aws.queue(&queue)
            .await
            .unwrap()
            .delete_queue()
            .await
            .unwrap();
    }
    stack
        .finds(
            "FAIL  request queue: ill-req-queue is missing: front makes it at its start",
            &[],
        )
        .await;
    stack
        .finds("FAIL  reply queue: ill-resp-queue is missing", &[])
        .await;
    aws.ensure_queue(&names.request_queue(), &settings(1024))
        .await
        .unwrap();
    stack
        .finds(
            "FAIL  request queue: ill-req-queue has no dead-letter queue",
            &[],
        )
        .await;
    stack.finds("FAIL  gateway: http://127.0.0.1:", &[]).await;
    stack
        .finds("FAIL  demand: the scaler cannot reach front", &[])
        .await;
}

#[tokio::test]
async fn credentials_endpoint_and_prefix_that_are_wrong_are_named() {
    let stack = Stack::start().await;
    let run = async |change: fn(&mut Command), more: &[&str]| {
        let mut command = stack.command(more);
        change(&mut command);
        let output = command.output().await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        text(&output)
    };
    let none = run(
        |it| {
            it.env_remove("AWS_ACCESS_KEY_ID")
                .env_remove("AWS_SECRET_ACCESS_KEY");
        },
        &[],
    )
    .await;
    assert!(none.contains("FAIL  credentials: "), "{none}");
    assert!(
        none.contains("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        "{none}"
    );
    let other = run(
        |it| {
            it.env("AWS_ACCESS_KEY_ID", "guess");
        },
        &[],
    )
    .await;
    assert!(
        other.contains("FAIL  credentials: InvalidClientTokenId"),
        "{other}"
    );
    // What needs them is left out, and the services are looked at all the same.
    assert!(
        !other.contains("buckets: ") && other.contains("ok    front: "),
        "{other}"
    );
    let prefix = run(|_| {}, &["--prefix", "other"]).await;
    assert!(
        prefix.contains("FAIL  buckets: other-in-bucket is missing"),
        "{prefix}"
    );
    assert!(
        prefix.contains("or set MUSTER_PREFIX, which is other"),
        "{prefix}"
    );
    let endpoint = run(|_| {}, &["--aws-endpoint-url", "http://127.0.0.1:9"]).await;
    assert!(
        endpoint.contains(
            "FAIL  endpoint: http://127.0.0.1:9 does not answer: start the stack with `make up`"
        ),
        "{endpoint}"
    );
}

#[tokio::test]
async fn a_paused_scaler_is_named() {
    let stack = Stack::start().await;
    let channel = platform::grpc::channel(&stack.urls[2], &PeerTlsArgs::default()).unwrap();
    let mut pause = tonic::Request::new(PauseRequest {
        by: "ada".to_owned(),
    });
    let token = format!("Bearer {TOKEN}").parse().unwrap();
    pause.metadata_mut().insert("authorization", token);
    ScalerClient::new(channel).pause(pause).await.unwrap();
    stack.finds("warn  scaler: http://127.0.0.1:", &[]).await;
    let text = text(&stack.doctor(&[]).await);
    assert!(
        text.contains("was paused by ada: no worker starts or stops until `scaler resume`"),
        "{text}"
    );
}

#[tokio::test]
async fn a_port_that_another_program_has_is_named() {
    let stack = Stack::start().await;
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", other.local_addr().unwrap());
    let output = stack.doctor(&["--front", &url]).await;
    let text = text(&output);
    let owner = format!(
        "(process {}) has its port: end that, or choose another port (FRONT_PORT of `make up`)",
        std::process::id()
    );
    let line = text
        .lines()
        .find(|line| line.starts_with("FAIL  front: "))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains("is not front of Muster") && line.ends_with(&owner),
        "{line}"
    );
}

#[tokio::test]
async fn programs_files_and_folders_that_are_missing_are_named() {
    let stack = Stack::start().await;
    std::fs::remove_file(stack.folder.path().join("gateway")).unwrap();
    stack
        .finds("FAIL  programs: gateway missing in ", &[])
        .await;
    stack
        .finds(
            "FAIL  disk: /no/such/folder does not exist",
            &["--data", "/no/such/folder"],
        )
        .await;
    stack
        .finds("FAIL  API keys: ", &["--api-keys", "/no/such/file"])
        .await;
    stack
        .finds(
            "FAIL  certificate: /no/such/file cannot be read",
            &["--tls-cert", "/no/such/file"],
        )
        .await;
    let models = samples::models();
    let more = [
        "--models",
        models.to_str().unwrap(),
        "--gallery",
        "/no/such/file",
    ];
    stack.finds("FAIL  model: /no/such/file: ", &more).await;
}

#[tokio::test]
async fn a_gallery_of_another_model_is_named() {
    let stack = Stack::start().await;
    std::fs::copy(program("worker"), stack.folder.path().join("worker")).unwrap();
    let models = samples::models();
    let gallery = stack.folder.path().join("gallery.safetensors");
    let more = [
        "--models",
        models.to_str().unwrap(),
        "--gallery",
        gallery.to_str().unwrap(),
    ];
    write_gallery(&gallery, 128);
    stack.finds("ok    model: ", &more).await;
    write_gallery(&gallery, 64);
    stack
        .finds("FAIL  model: a worker cannot load: ", &more)
        .await;
}

/// One face in so many numbers, as safetensors.
fn write_gallery(file: &Path, dimension: usize) {
    let bytes = dimension * size_of::<f32>();
    let header = format!(
        r#"{{"__metadata__":{{"names":"[\"ada\"]"}},"embeddings":{{"dtype":"F32","shape":[1,{dimension}],"data_offsets":[0,{bytes}]}}}}"#
    );
    let mut content = (header.len() as u64).to_le_bytes().to_vec();
    content.extend(header.as_bytes());
    content.extend(1_f32.to_le_bytes());
    content.resize(content.len() + bytes - size_of::<f32>(), 0);
    std::fs::write(file, content).unwrap();
}
