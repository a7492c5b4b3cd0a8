//! Front in a person's AWS account: credentials of a profile, names that others have taken. A small server plays AWS's
//! services that give out credentials.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::{get, post};
use localcloud::{Authentication, Config, Credentials, Faults};
use platform::aws::{Aws, AwsArgs};
use testkit::{LocalCloud, eventually, listen};

const KEY: &str = "AKIAPROFILE";
const SECRET: &str = "the-secret-of-the-profile";

/// Front, started with nothing in its environment but what the test gives it.
struct Front(Child);

impl Front {
    fn start(cloud: &LocalCloud, home: &Path, environment: &[(&str, &str)]) -> Self {
        let program = env!("CARGO_BIN_EXE_front");
        let front = Command::new(program)
            .args(["--listen", "127.0.0.1:0", "--prefix", "profile"])
            .args(["--aws-endpoint-url", &cloud.url])
            .env_clear()
            .env("HOME", home)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(environment.iter().copied())
            .spawn();
        Self(front.unwrap())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts front with a profile, and waits until it has made its bucket, which needs the profile's credentials.
async fn front_works_with(profile: &str, environment: &[(&str, &str)]) {
    let credentials = Credentials {
        access_key: KEY.to_owned(),
        secret_key: SECRET.to_owned(),
    };
    let cloud = LocalCloud::start(Config {
        authentication: Authentication::Keys(credentials),
        ..Config::default()
    })
    .await;
    let portal = start_portal().await;
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".aws");
    fs::create_dir_all(folder.join("sso/cache")).unwrap();
    let web_identity_token = home.path().join("token");
    fs::write(&web_identity_token, "a token of the identity provider").unwrap();
    // Named by the SHA-1 of the session's name, `people`, as `aws sso login` leaves it.
    fs::write(
        folder.join("sso/cache/ab3ccc8dba2a0cf7a1ce4d830bb8a6238ff03833.json"),
        r#"{"accessToken": "a token", "expiresAt": "2099-01-01T00:00:00Z", "region": "eu-central-1"}"#,
    )
    .unwrap();
    let text = profile.replace("TOKEN_FILE", web_identity_token.to_str().unwrap());
    fs::write(folder.join("config"), text).unwrap();

    let mut all = vec![
        ("AWS_PROFILE", "mine"),
        ("AWS_ENDPOINT_URL_STS", &portal),
        ("AWS_ENDPOINT_URL_SSO", &portal),
    ];
    all.extend(environment);
    let mut front = Front::start(&cloud, home.path(), &all);
    let args = AwsArgs {
        endpoint_url: Some(cloud.url.clone()),
        region: Some("us-east-1".to_owned()),
        prefix: "profile".to_owned(),
    };
    let bucket = Aws::connect_as(&args, KEY, SECRET)
        .await
        .objects("profile-in-bucket");
    eventually("front has made its bucket", async || {
        assert_eq!(front.0.try_wait().unwrap(), None, "front has ended");
        bucket.get_tagged("nothing").await.is_ok()
    })
    .await;
}

/// Starts the token service (STS) and the portal of SSO, in one. Both return the keys that the local cloud accepts.
async fn start_portal() -> String {
    let (listener, url) = listen().await;
    let sts = |form: String| async move {
        let action = if form.contains("Action=AssumeRoleWithWebIdentity") {
            "AssumeRoleWithWebIdentity"
        } else {
            "AssumeRole"
        };
        let document = format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>\
             <AssumedRoleUser><Arn>arn:aws:sts::000000000000:assumed-role/faces/s</Arn>\
             <AssumedRoleId>AROA:s</AssumedRoleId></AssumedRoleUser>\
             <Credentials><AccessKeyId>{KEY}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>\
             <SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
             </{action}Result></{action}Response>"
        );
        ([(CONTENT_TYPE, "text/xml")], document)
    };
    let sso = || async {
        let document = format!(
            "{{\"roleCredentials\": {{\"accessKeyId\": \"{KEY}\", \"secretAccessKey\": \"{SECRET}\", \
             \"sessionToken\": \"session\", \"expiration\": 4070908800000}}}}"
        );
        ([(CONTENT_TYPE, "application/json")], document)
    };
    let portal = Router::new()
        .route("/", post(sts))
        .route("/federation/credentials", get(sso));
    tokio::spawn(async move { axum::serve(listener, portal).await });
    url
}

#[tokio::test]
async fn a_profile_may_name_a_program_that_prints_credentials() {
    let profile = format!(
        "[profile mine]\nregion = eu-central-1\ncredential_process = /bin/echo \
         '{{\"Version\": 1, \"AccessKeyId\": \"{KEY}\", \"SecretAccessKey\": \"{SECRET}\"}}'\n"
    );
    front_works_with(&profile, &[]).await;
}

#[tokio::test]
async fn a_profile_may_assume_a_role() {
    let profile = "[profile mine]\nregion = eu-central-1\nrole_arn = arn:aws:iam::000000000000:role/faces\n\
                   source_profile = base\n\
                   [profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = base\n";
    front_works_with(profile, &[]).await;
}

#[tokio::test]
async fn a_profile_may_sign_in_by_sso() {
    let profile = "[profile mine]\nregion = eu-central-1\nsso_session = people\nsso_account_id = 000000000000\n\
                   sso_role_name = faces\n\
                   [sso-session people]\nsso_region = eu-central-1\nsso_start_url = https://people.example/start\n";
    front_works_with(profile, &[]).await;
}

#[tokio::test]
async fn a_profile_may_use_a_web_identity() {
    let profile = "[profile mine]\nregion = eu-central-1\nrole_arn = arn:aws:iam::000000000000:role/faces\n\
                   web_identity_token_file = TOKEN_FILE\n";
    front_works_with(profile, &[]).await;
}

#[tokio::test]
async fn a_bucket_name_that_another_account_has_taken_is_an_error_that_says_what_to_do() {
    let taken = r#"{"call": [{"action": "*Bucket", "error": {"code": "BucketAlreadyExists", "status": 409}}]}"#;
    let cloud = LocalCloud::start(Config {
        faults: serde_json::from_str::<Faults>(taken).unwrap(),
        ..Config::default()
    })
    .await;
    let bucket = cloud.aws("faces").await.objects("faces-in-bucket");
    let error = bucket.ensure().await.unwrap_err().to_string();
    assert!(
        error.contains("faces-in-bucket belongs to another AWS account")
            && error.contains("MUSTER_PREFIX"),
        "{error}"
    );
}
