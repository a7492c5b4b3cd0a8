//! AWS clients, with timeouts for every call.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_s3::config::Credentials;
use aws_smithy_http_client::{Builder, tls};
use futures::future::BoxFuture;

use crate::fleet::Fleet;
use crate::objects::Objects;
use crate::queue::{Queue, QueueAttributes, QueueError};
use crate::timeouts::{ATTEMPT, SLOW_ATTEMPT, attempts_of};

mod endpoints;
mod user_agent;

use endpoints::EndpointCache;
use user_agent::FixedUserAgent;

/// The longest wait of a receive call. SQS refuses more.
pub const LONGEST_POLL: Duration = Duration::from_secs(20);

/// Settings of AWS. Credentials come from the SDK's default chain: environment, profile files (keys, roles, SSO, a program),
/// web identity, instance role.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "AWS")]
pub struct AwsArgs {
    /// Endpoint of all AWS services, for example the local cloud at http://127.0.0.1:4566 [default: AWS itself]
    #[arg(
        long = "aws-endpoint-url",
        env = "AWS_ENDPOINT_URL",
        value_name = "URL"
    )]
    pub endpoint_url: Option<String>,
    /// AWS region [default: that of the profile or the instance, or us-east-1]
    #[arg(long = "aws-region", env = "AWS_REGION", value_name = "REGION")]
    pub region: Option<String>,
    /// Prefix of the names of buckets and queues. Bucket names are unique on all of AWS: choose a prefix of your own
    #[arg(long, env = "MUSTER_PREFIX", default_value = "muster")]
    pub prefix: String,
}

/// The clients of one process. Cloning shares the connection pools.
#[derive(Debug, Clone)]
pub struct Aws {
    config: SdkConfig,
    s3: aws_sdk_s3::Client,
    sqs: aws_sdk_sqs::Client,
}

impl Aws {
    /// Makes the clients. Credentials are read at the first call.
    pub async fn connect(args: &AwsArgs) -> Self {
        Self::connect_with(args, None).await
    }

    /// Makes clients with this access key instead of the default chain, for tests against a local cloud.
    pub async fn connect_as(args: &AwsArgs, access_key: &str, secret_key: &str) -> Self {
        let credentials = Credentials::new(access_key, secret_key, None, None, "fixed");
        Self::connect_with(args, Some(credentials)).await
    }

    #[inline(never)]
    fn connect_with(args: &AwsArgs, credentials: Option<Credentials>) -> BoxFuture<'_, Self> {
        // Compiled here once, and not in each caller: see "Builds" in docs/development.md.
        Box::pin(Self::load(args, credentials))
    }

    async fn load(args: &AwsArgs, credentials: Option<Credentials>) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http_client())
            .timeout_config(attempts_of(SLOW_ATTEMPT))
            .region(region(args));
        if let Some(url) = &args.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Some(credentials) = credentials {
            loader = loader.credentials_provider(credentials);
        }
        let config = loader.load().await;
        // A local endpoint has no host name for each bucket.
        let s3 = aws_sdk_s3::config::Builder::from(&config)
            .force_path_style(args.endpoint_url.is_some())
            .interceptor(FixedUserAgent)
            .endpoint_resolver(EndpointCache::default())
            .build();
        let sqs = aws_sdk_sqs::config::Builder::from(&config)
            .interceptor(FixedUserAgent)
            .timeout_config(attempts_of(ATTEMPT))
            .build();
        Self {
            s3: aws_sdk_s3::Client::from_conf(s3),
            sqs: aws_sdk_sqs::Client::from_conf(sqs),
            config,
        }
    }

    #[must_use]
    pub fn objects(&self, bucket: impl Into<String>) -> Objects {
        Objects::new(self.s3.clone(), bucket.into())
    }

    /// Returns a queue by its name.
    pub async fn queue(&self, name: &str) -> Result<Queue, QueueError> {
        Queue::open(self.sqs.clone(), name).await
    }

    /// Lists the names of the queues that begin with `prefix`.
    pub async fn queue_names(&self, prefix: &str) -> Result<Vec<String>, QueueError> {
        Queue::list(&self.sqs, prefix).await
    }

    /// Creates the queue with these attributes, or sets them if the queue exists.
    pub async fn ensure_queue(
        &self,
        name: &str,
        attributes: &QueueAttributes,
    ) -> Result<Queue, QueueError> {
        Queue::ensure(self.sqs.clone(), name, attributes).await
    }

    /// Returns the client of Service Quotas; `None` at a local endpoint, which has none.
    #[must_use]
    pub fn quotas(&self) -> Option<aws_sdk_servicequotas::Client> {
        let is_aws = self.config.endpoint_url().is_none();
        is_aws.then(|| aws_sdk_servicequotas::Client::new(&self.config))
    }

    /// Returns what the clients are made of, for services that this crate has no adapter for.
    #[must_use]
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    #[must_use]
    pub fn fleet(&self) -> Fleet {
        Fleet::new(&aws_sdk_ec2::Client::new(&self.config))
    }
}

/// Returns where the region comes from.
fn region(args: &AwsArgs) -> RegionProviderChain {
    let chain = RegionProviderChain::first_try(args.region.clone().map(Region::new))
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new());
    // Beside a local cloud the metadata service would be waited for in vain.
    let chain = match args.endpoint_url {
        Some(_) => chain,
        None => chain.or_else(ImdsRegionProvider::builder().build()),
    };
    chain.or_else(Region::from_static("us-east-1"))
}

/// Returns the first line of an SDK's error without the parts that only programs read: structures, and the encoded message of
/// a refusal.
#[must_use]
pub fn brief(error: &str) -> String {
    let line = error.lines().next().unwrap_or_default();
    let ends = [
        " Encoded authorization failure",
        ": Error {",
        " (Unhandled(",
        " (DispatchFailure(",
        " (ServiceError(",
        " (TimeoutError(",
        " (ResponseError(",
    ];
    let end = ends.iter().filter_map(|end| line.find(end)).min();
    line[..end.unwrap_or(line.len())]
        .trim_end_matches('.')
        .to_owned()
}

pub(crate) fn http_client() -> impl aws_sdk_s3::config::HttpClient + Clone + 'static {
    Builder::new()
        .tls_provider(tls::Provider::Rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .build_https()
}

#[cfg(test)]
mod tests {
    use aws_config::profile::ProfileFileCredentialsProvider;
    use aws_config::provider_config::ProviderConfig;
    use aws_sdk_s3::config::ProvideCredentials;
    use testkit::LocalCloud;

    use super::*;

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[allow(deprecated, reason = "aws-config has no other name for these types")]
    fn provider(profiles: &str, profile: &str) -> ProfileFileCredentialsProvider {
        use aws_config::profile::profile_file::{ProfileFileKind, ProfileFiles};

        let files = ProfileFiles::builder().with_contents(ProfileFileKind::Config, profiles);
        let config = ProviderConfig::without_region()
            .with_region(Some(Region::from_static("us-east-1")))
            .with_http_client(http_client());
        ProfileFileCredentialsProvider::builder()
            .configure(&config)
            .profile_files(files.build())
            .profile_name(profile)
            .build()
    }

    /// By default the SDK limits only connecting: a call to a server that never replies would hang.
    #[tokio::test]
    async fn an_attempt_of_a_call_without_a_photo_takes_five_seconds_at_most() {
        let args = AwsArgs {
            endpoint_url: Some("http://127.0.0.1:1".to_owned()),
            region: Some("us-east-1".to_owned()),
            prefix: "test".to_owned(),
        };
        let aws = Aws::connect_as(&args, "test", "test").await;
        let (sqs, s3) = (aws.sqs.config(), aws.s3.config());
        for (timeouts, attempt) in [
            (sqs.timeout_config(), 5),
            (s3.timeout_config(), 30),
            (Some(&attempts_of(ATTEMPT)), 5),
        ] {
            let timeouts = timeouts.unwrap();
            assert_eq!(timeouts.connect_timeout(), seconds(3));
            assert_eq!(timeouts.read_timeout(), seconds(attempt));
            assert_eq!(timeouts.operation_attempt_timeout(), seconds(attempt));
            assert_eq!(timeouts.operation_timeout(), seconds(2 * attempt));
        }
    }

    /// Both need a feature of aws-config. Without it, a profile that asks for one is an error of the configuration.
    #[tokio::test]
    async fn a_profile_may_name_a_program_or_an_sso_session() {
        let profiles = "[profile program]\ncredential_process = /bin/echo \
                        '{\"Version\": 1, \"AccessKeyId\": \"AKIAPROGRAM\", \"SecretAccessKey\": \"secret\"}'\n\
                        [profile sso]\nsso_start_url = https://people.example/start\n\
                        sso_region = eu-central-1\nsso_account_id = 000000000000\nsso_role_name = faces\n";
        let load = async |profile: &str| provider(profiles, profile).provide_credentials().await;
        let of_program = load("program").await.unwrap();
        assert_eq!(of_program.access_key_id(), "AKIAPROGRAM");
        // The token that `aws sso login` leaves is missing.
        let error = format!("{:?}", load("sso").await.unwrap_err());
        assert!(error.contains(".aws/sso/cache/"), "{error}");
    }

    #[tokio::test]
    async fn a_profile_may_assume_a_role_with_the_key_of_another() {
        let roles = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(roles.path(), "[[role]]\nname = \"reader\"\npolicies = []\n").unwrap();
        let mut config = localcloud::Config::default();
        config.add_file(roles.path()).unwrap();
        let cloud = LocalCloud::start(config).await;
        let profiles = format!(
            "[profile reader]\nrole_arn = arn:aws:iam::000000000000:role/reader\nsource_profile = account\n\
             endpoint_url = {}\n\
             [profile account]\naws_access_key_id = test\naws_secret_access_key = test\n",
            cloud.url
        );
        let provider = provider(&profiles, "reader");
        let credentials = provider.provide_credentials().await.unwrap();
        assert!(credentials.access_key_id().starts_with("ASIA"));
        assert!(credentials.session_token().is_some());
        assert_eq!(cloud.answers("AssumeRole", 200).await, 1);
    }

    /// No key signs AssumeRoleWithWebIdentity. localcloud does not have it, and refuses it as an unsigned call.
    #[tokio::test]
    async fn a_profile_may_assume_a_role_with_a_web_identity_token() {
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "token").unwrap();
        let cloud = LocalCloud::start(Default::default()).await;
        let profiles = format!(
            "[profile pod]\nrole_arn = arn:aws:iam::000000000000:role/reader\nweb_identity_token_file = {}\n\
             endpoint_url = {}\n",
            token.path().display(),
            cloud.url
        );
        let provider = provider(&profiles, "pod");
        let error = provider.provide_credentials().await.unwrap_err();
        let error = format!("{error:?}");
        assert!(error.contains("MissingAuthenticationToken"), "{error}");
        let calls = cloud.metrics().await;
        let refused = "service=\"sts\",action=\"Unknown\",status=\"403\"} 1\n";
        assert!(calls.contains(refused), "{calls}");
    }

    #[test]
    fn a_brief_error_has_no_structures_of_the_sdk() {
        let long = "EC2 could not be reached: dispatch failure: no credentials (DispatchFailure(DispatchFailure { .. }))";
        let short = "EC2 could not be reached: dispatch failure: no credentials";
        assert_eq!(brief(long), short);
        assert_eq!(brief("denied.: Error { code: 1 }\nmore"), "denied");
        assert_eq!(brief("as it is"), "as it is");
        assert_eq!(brief(""), "");
    }
}
