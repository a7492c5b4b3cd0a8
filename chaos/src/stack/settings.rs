//! What the local cloud and its instances are told.

use std::fmt::Write as _;

use super::{PREFIX, Stack, WorkerProgram, local};

impl Stack {
    fn shared_user_data(&self) -> String {
        let cloud = self.proxies.cloud.address();
        format!(
            "AWS_ENDPOINT_URL=http://{cloud}\nAWS_REGION=us-east-1\nMUSTER_PREFIX={PREFIX}\nMUSTER_LOG_FORMAT=json\n"
        )
    }

    /// Returns the user data of workers' instances.
    pub(super) fn worker_user_data(&self) -> String {
        let mut lines = self.shared_user_data();
        let scaler = self.proxies.scaler.address();
        let _ = write!(
            lines,
            "MUSTER_SCALER=http://{scaler}\nMUSTER_FLEET_TOKEN=@MUSTER_FLEET_TOKEN@\nMUSTER_LOG=info,worker=debug\n"
        );
        let _ = match &self.options.worker {
            WorkerProgram::Light(time) => write!(
                lines,
                "MUSTER_INFERENCE_THREADS=4\nMUSTER_LIGHT_TIME={}ms\n",
                time.as_millis()
            ),
            WorkerProgram::Real {
                engine,
                models,
                gallery,
            } => write!(
                lines,
                "MUSTER_INFERENCE_THREADS=1\nMUSTER_ENGINE={engine}\nMUSTER_MODELS={}\nMUSTER_GALLERY={}\n",
                models.display(),
                gallery.display()
            ),
        };
        lines
    }

    fn web_user_data(&self) -> String {
        let (ports, options) = (&self.ports, &self.options);
        let mut lines = self.shared_user_data();
        let settings = [
            ("HTTP_LISTEN", local(ports.http).to_string()),
            ("FRONT_LISTEN", local(ports.front).to_string()),
            ("SCALER_LISTEN", local(ports.scaler).to_string()),
            ("FRONT_ADMIN_LISTEN", local(ports.front_admin).to_string()),
            ("SCALER_ADMIN_LISTEN", local(ports.scaler_admin).to_string()),
            (
                "GATEWAY_ADMIN_LISTEN",
                local(ports.gateway_admin).to_string(),
            ),
            ("FRONT", format!("http://{}", self.proxies.front.address())),
            ("SCALER", format!("http://{}", local(ports.scaler))),
            ("DEMAND", format!("redis://127.0.0.1:{}/0", ports.redis)),
            ("REPLY_QUEUE", format!("{PREFIX}-resp-queue")),
            ("WORKER_IMAGE", "ami-worker".to_owned()),
            ("WORKER_INSTANCE_PROFILE", format!("{PREFIX}-worker")),
            (
                "WORKER_USER_DATA_FILE",
                options
                    .folder
                    .join("worker-user-data")
                    .display()
                    .to_string(),
            ),
            ("MAX_WORKERS", options.max_workers.to_string()),
            ("POLICY", options.policy.clone()),
            (
                "MARKET",
                if options.spot { "spot" } else { "on-demand" }.to_owned(),
            ),
            ("KEEP_IDLE", options.keep_idle.to_owned()),
            ("SETTLE", "200ms".to_owned()),
            ("IDLE_TIME", "1s".to_owned()),
            ("BILLING_MINIMUM", "0s".to_owned()),
            ("BOOT_TIME", "500ms".to_owned()),
            ("API_KEYS", self.key_file().display().to_string()),
            ("API_KEY", self.key.clone()),
            ("PREFLIGHT", "off".to_owned()),
        ];
        for (name, value) in settings {
            let _ = writeln!(lines, "MUSTER_{name}={value}");
        }
        lines
    }

    /// Returns the local cloud's configuration.
    pub(super) fn cloud_config(&self) -> String {
        let (bin, root) = (self.options.bin.display(), self.options.root.display());
        let worker = match &self.options.worker {
            WorkerProgram::Light(_) => format!("[\"{bin}/worker-light\"]"),
            WorkerProgram::Real { .. } => format!("[\"{bin}/worker\", \"serve\"]"),
        };
        let web = self.web_user_data().replace('\n', "\\n");
        format!(
            r#"
[[image]]
id = "ami-web"
name = "web"
command = ["{root}/scripts/web-instance"]
env = {{ MUSTER_BIN = "{bin}" }}
user_data_env = ["AWS_", "MUSTER_"]

[[image]]
id = "ami-worker"
name = "worker"
command = {worker}
user_data_env = ["AWS_", "MUSTER_"]

[[role]]
name = "{PREFIX}-web"
policies = ["{root}/deploy/aws/iam/front.json", "{root}/deploy/aws/iam/scaler.json"]
tags = {{ muster-prefix = "{PREFIX}" }}

[[role]]
name = "{PREFIX}-worker"
policies = ["{root}/deploy/aws/iam/worker.json"]
tags = {{ muster-prefix = "{PREFIX}" }}

[[instance]]
image = "ami-web"
instance_profile = "{PREFIX}-web"
tags = {{ Name = "web-instance", muster-prefix = "{PREFIX}" }}
user_data = "{web}"
"#
        )
    }
}
