//! The policies in `deploy/aws/iam` allow what the services do, and nothing else: localcloud enforces them in a run with
//! faults, and records the statement that allows each access. Every service is a process on an instance, with the role of
//! its own policy and credentials from the metadata service. Needs the programs (`make test` builds them).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use localcloud::{BootInstance, Config, Image, RoleConfig};
use platform::aws::Aws;
use platform::fleet::{FleetInstance, LaunchSpec, PowerState};
use proto::v1::RecognitionJob;
use proto::{JobId, Names};
use serde::Deserialize;
use testkit::{LocalCloud, free_addresses, program, samples, until_ready, upload};

use crate::stack::{
    self, Answer, PREFIX, assert_recognized, eventually, photos, until_no_worker_runs,
};

/// What no local run can need, with the reason.
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    (
        "CheckLaunchSettings",
        "servicequotas:GetServiceQuota",
        "only AWS itself has quotas",
    ),
    (
        "FirstSpotInstanceOfTheAccount",
        "iam:CreateServiceLinkedRole",
        "EC2 itself makes the role at an account's first spot instance",
    ),
    (
        "FirstSpotInstanceOfTheAccount",
        "arn:aws:iam::*:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot",
        "as above",
    ),
];

/// A line of localcloud's record.
#[derive(Debug, Deserialize)]
struct Line {
    role: String,
    action: String,
    resource: String,
    decision: String,
    #[serde(default)]
    dry_run: bool,
    by: Option<By>,
}

#[derive(Debug, Deserialize)]
struct By {
    sid: String,
    action: String,
    resource: String,
}

impl Line {
    /// Returns the statement that allows a call, unless it is a dry run, which shows no need.
    fn needed(&self) -> Option<&By> {
        self.by.as_ref().filter(|_| !self.dry_run)
    }
}

struct Services {
    aws: Aws,
    names: Names,
    url: String,
    client: reqwest::Client,
    record: PathBuf,
    cloud: LocalCloud,
    _folder: tempfile::TempDir,
}

impl Services {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("calls.jsonl");
        let (listener, cloud_url) = testkit::listen().await;
        let [http, front, other_front, scaler, other_scaler] =
            free_addresses().map(|address| address.to_string());
        let (front_url, scalers) = (
            format!("http://{front}"),
            format!("http://{scaler},http://{other_scaler}"),
        );
        let mut worker = stack::worker_image(&cloud_url, &scalers);
        worker.command.splice(0..0, without_keys());
        worker
            .env
            .retain(|name, _| !name.starts_with("AWS_") || name == "AWS_ENDPOINT_URL");
        let image = |id: &str, name: &str, settings: &[(&str, &str)]| {
            let shared = [("AWS_ENDPOINT_URL", &*cloud_url), ("MUSTER_PREFIX", PREFIX)];
            let env = shared.iter().chain(settings);
            let env = env.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let mut command = without_keys();
            command.push(program(name).to_str().unwrap().to_owned());
            Image {
                id: format!("ami-{id}"),
                name: None,
                command,
                env: env.collect(),
                user_data_env: Vec::new(),
            }
        };
        let scaler_settings = [
            ("MUSTER_FRONT", &*front_url),
            // A worker for each request, and none after the last.
            ("MUSTER_POLICY", "step"),
            ("MUSTER_BILLING_MINIMUM", "0s"),
            ("MUSTER_BOOT_TIME", "500ms"),
            ("MUSTER_WORKER_INSTANCE_PROFILE", "e2e-worker"),
            ("MUSTER_WORKER_SECURITY_GROUPS", "sg-1"),
            ("MUSTER_WORKER_SUBNET", "subnet-1"),
            ("MUSTER_WORKER_KEY", "key"),
            ("MUSTER_WORKER_PUBLIC_IP", "true"),
            ("MUSTER_WORKER_DISK_GB", "8"),
        ];
        let of_scaler = [
            ("MUSTER_SCALER_LISTEN", &*scaler),
            ("MUSTER_MAX_WORKERS", "1"),
            ("MUSTER_WORKER_MARKET", "on-demand"),
        ];
        let of_other_scaler = [
            ("MUSTER_SCALER_LISTEN", &*other_scaler),
            ("MUSTER_MAX_WORKERS", "2"),
            ("MUSTER_WORKER_MARKET", "spot"),
        ];
        let of_front = |listen| {
            [
                ("MUSTER_FRONT_LISTEN", listen),
                ("MUSTER_VISIBILITY_TIMEOUT", "3"),
            ]
        };
        let mut gateway = image("gateway", "gateway", &[("MUSTER_FRONT", &front_url)]);
        gateway
            .command
            .extend(["--listen".to_owned(), http.clone()]);
        let images = vec![
            worker,
            image("front", "front", &of_front(&front)),
            image("other-front", "front", &of_front(&other_front)),
            image(
                "scaler",
                "scaler",
                &[&scaler_settings[..], &of_scaler].concat(),
            ),
            image(
                "other-scaler",
                "scaler",
                &[&scaler_settings[..], &of_other_scaler].concat(),
            ),
            gateway,
        ];
        let boot = |image: &str, role: Option<&str>| BootInstance {
            image: format!("ami-{image}"),
            tags: BTreeMap::from([("Name".to_owned(), image.to_owned())]),
            user_data: None,
            instance_profile: role.map(str::to_owned),
        };
        let config = Config {
            images,
            instances: vec![
                boot("front", Some("e2e-front")),
                boot("other-front", Some("e2e-front")),
                boot("scaler", Some("e2e-scaler")),
                boot("gateway", None),
            ],
            roles: ["front", "scaler", "worker"].map(role).into(),
            record_calls: Some(record.clone()),
            ..Config::default()
        };
        let cloud = LocalCloud::serve(config, listener);
        let services = Self {
            aws: cloud.aws(PREFIX).await,
            names: Names::new(PREFIX),
            url: format!("http://{http}"),
            client: testkit::http_client(),
            record,
            cloud,
            _folder: folder,
        };
        until_ready(&services.url).await;
        services
    }

    async fn post(&self, file_name: &str, photo: &[u8]) -> Answer {
        let answer = stack::post(&self.client, &self.url, file_name, photo).await;
        answer.unwrap()
    }

    /// Posts a clip without people, and waits until its timeline is stored and its frames are deleted.
    async fn follow_clip(&self) {
        let clip = samples::clip("color=gray:duration=1:size=160x120:rate=10");
        let form = upload("nobody.mp4", clip);
        let post = self.client.post(format!("{}/v1/videos", self.url));
        let accepted = post.multipart(form).send().await.unwrap();
        assert_eq!(accepted.status(), 202);
        let location = accepted.headers()["location"].to_str().unwrap();
        let url = format!("{}{location}", self.url);
        eventually("the clip is done", async || {
            let found = self.client.get(&url).send().await.unwrap();
            let found = found.text().await.unwrap();
            found.contains("\"state\":\"done\"")
        })
        .await;
    }

    /// Posts photos at once, each of which is recognized.
    async fn recognize(&self, photos: &[(String, Vec<u8>)], people: &[String]) {
        let posts = photos.iter().map(|(name, photo)| self.post(name, photo));
        let answers = futures::future::join_all(posts).await;
        assert_recognized(photos, people, &answers);
    }

    async fn instances(&self, name: &str) -> Vec<FleetInstance> {
        self.aws.fleet().find(name).await.unwrap()
    }

    async fn stop(&self, name: &str) {
        let ids = self.instances(name).await.into_iter().map(|it| it.id);
        self.aws
            .fleet()
            .stop(&ids.collect::<Vec<_>>())
            .await
            .unwrap();
        eventually("the instance is stopped", async || {
            let left = self.instances(name).await;
            left.iter().all(|it| it.state == PowerState::Stopped)
        })
        .await;
    }

    async fn until_no_worker_runs(&self) {
        until_no_worker_runs(&self.aws).await;
    }

    fn lines(&self) -> Vec<Line> {
        let text = std::fs::read_to_string(&self.record).unwrap();
        // The last line may be under way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    async fn until_recorded(&self, sid: &str, action: &str) {
        eventually(&format!("{sid} allows {action}"), async || {
            let lines = self.lines();
            let mut allowed = lines.iter().filter_map(Line::needed);
            allowed.any(|by| by.sid == sid && by.action == action)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_statement_of_the_policies_is_needed_and_no_call_is_denied() {
    let services = Services::start().await;
    let (photos, people) = photos(8);

    // A job of a photo that is gone, and a message that is none, which ends in the dead-letter queue.
    let requests = services
        .aws
        .queue(&services.names.request_queue())
        .await
        .unwrap();
    let replies = services
        .aws
        .queue_names(&services.names.reply_queue())
        .await
        .unwrap();
    let gone = RecognitionJob {
        job_id: JobId::random().to_string(),
        object_key: "gone.jpg".to_owned(),
        reply_queue: replies[0].clone(),
        ..RecognitionJob::default()
    };
    requests.send(proto::encode(&gone)).await.unwrap();
    requests.send("no job".to_owned()).await.unwrap();
    services.recognize(&photos[..4], &people[..4]).await;
    services.follow_clip().await;
    let dead = services
        .aws
        .queue(&services.names.dead_letter_queue())
        .await
        .unwrap();
    eventually("the message is a dead letter", async || {
        dead.counters().await.unwrap().visible == 1
    })
    .await;
    services.until_no_worker_runs().await;

    // A stopped instance starts again. The photo and its result are stored already. A photo without a face is deleted.
    services.recognize(&photos[..1], &people[..1]).await;
    let sky = services.post("sky.png", include_bytes!("sky.png")).await;
    assert_eq!(sky.status, 422, "{sky:?}");
    services
        .until_recorded("CheckBuckets", "s3:ListBucket")
        .await;
    services.until_no_worker_runs().await;

    // Without a scaler, a request waits so long that front looks for it among the dead letters. Then another scaler takes
    // over, which buys spot instances.
    services.stop("scaler").await;
    let waiting = services.recognize(&photos[4..], &people[4..]);
    let taking_over = async {
        services
            .until_recorded("ReadDeadLetters", "sqs:ReceiveMessage")
            .await;
        let other = LaunchSpec {
            image_id: "ami-other-scaler".to_owned(),
            instance_type: "t3.micro".to_owned(),
            instance_profile: Some("e2e-scaler".to_owned()),
            ..LaunchSpec::default()
        };
        let launched = services
            .aws
            .fleet()
            .launch(&other, 1, "other-scaler", "once")
            .await;
        launched.unwrap();
    };
    futures::join!(waiting, taking_over);
    services
        .until_recorded(
            "StartStopTerminateInstancesOfThisPrefix",
            "ec2:TerminateInstances",
        )
        .await;
    services.until_no_worker_runs().await;

    // A front that ends deletes its reply queue.
    services.stop("other-front").await;
    services
        .until_recorded("SweepReplyQueues", "sqs:DeleteQueue")
        .await;

    let lines = services.lines();
    let denied: BTreeSet<_> = lines
        .iter()
        .filter(|line| line.decision != "allowed")
        .map(|line| format!("{}: {} on {}", line.role, line.action, line.resource))
        .collect();
    assert!(denied.is_empty(), "{denied:#?}");
    for name in ["front", "scaler", "worker"] {
        let role = format!("e2e-{name}");
        let of_role = lines.iter().filter(|line| line.role == role);
        let used: BTreeSet<_> = of_role
            .filter_map(Line::needed)
            .flat_map(|by| [(&*by.sid, &*by.action), (&*by.sid, &*by.resource)])
            .collect();
        check(name, &used);
    }
    drop(services.cloud);
}

/// Checks that every action and resource of a policy's statements was used, but for the exceptions, which were not.
fn check(policy: &str, used: &BTreeSet<(&str, &str)>) {
    let text = std::fs::read_to_string(policy_file(policy)).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let texts = |value: &serde_json::Value| match value {
        serde_json::Value::Array(texts) => texts.clone(),
        text => vec![text.clone()],
    };
    for statement in document["Statement"].as_array().unwrap() {
        let sid = statement["Sid"]
            .as_str()
            .expect("every statement has a Sid");
        let parts = [&statement["Action"], &statement["Resource"]]
            .map(texts)
            .concat();
        assert!(parts.len() >= 2, "{policy}.json: {sid}");
        for part in parts {
            let part = part.as_str().unwrap();
            let exception = EXCEPTIONS.iter().find(|it| (it.0, it.1) == (sid, part));
            match (used.contains(&(sid, part)), exception) {
                (true, None) | (false, Some(_)) => {}
                (false, None) => panic!("{policy}.json: no call needs {part} of {sid}"),
                (true, Some(_)) => panic!("{part} of {sid} is needed, and an exception no longer"),
            }
        }
    }
}

fn role(name: &str) -> RoleConfig {
    RoleConfig {
        name: format!("e2e-{name}"),
        policies: vec![policy_file(name)],
        tags: BTreeMap::from([("muster-prefix".to_owned(), PREFIX.to_owned())]),
    }
}

fn policy_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../deploy/aws/iam/{name}.json"))
}

/// Returns the begin of a command whose program has no credentials of the user who runs the tests.
fn without_keys() -> Vec<String> {
    let names = [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
    ];
    let unset = names.iter().flat_map(|name| ["-u", name]);
    ["env"]
        .into_iter()
        .chain(unset)
        .map(str::to_owned)
        .collect()
}
