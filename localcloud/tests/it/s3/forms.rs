//! S3: browsers' forms.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::ProvideCredentials;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use time::OffsetDateTime;
use time::macros::format_description;

use super::{BUCKET, cloud_with_bucket, create_bucket, get, head, keys};
use crate::cloud::{Cloud, raw_text, request};
use crate::iam::cloud_with_role;

const MINUTE: Duration = Duration::from_secs(60);

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// What signs a form.
struct Signer<'a> {
    access_key: &'a str,
    secret_key: &'a str,
    signed: SystemTime,
    /// When its policy ends.
    ends: SystemTime,
}

impl<'a> Signer<'a> {
    /// Signs now, for an hour.
    fn with(access_key: &'a str, secret_key: &'a str) -> Self {
        let now = SystemTime::now();
        Self {
            access_key,
            secret_key,
            signed: now,
            ends: now + 60 * MINUTE,
        }
    }
}

/// Sends a form for a file with some content. Returns the whole reply.
async fn post(
    cloud: &Cloud,
    signer: &Signer<'_>,
    key: &str,
    more: &[(&str, &str)],
    content: &str,
) -> String {
    let signed = OffsetDateTime::from(signer.signed);
    let day = signed.format(format_description!("[year][month][day]"));
    let time = signed.format(format_description!(
        "[year][month][day]T[hour][minute][second]Z"
    ));
    let ends = OffsetDateTime::from(signer.ends).format(format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second]Z"
    ));
    let (day, time, ends) = (day.unwrap(), time.unwrap(), ends.unwrap());
    let credential = format!("{}/{day}/us-east-1/s3/aws4_request", signer.access_key);
    let mut fields = vec![
        ("key", key),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        ("x-amz-credential", credential.as_str()),
        ("x-amz-date", time.as_str()),
    ];
    fields.extend(more);
    let mut conditions = vec![json!({ "bucket": BUCKET })];
    conditions.extend(fields.iter().map(|(name, value)| json!({ *name: value })));
    let policy: Value = json!({ "expiration": ends, "conditions": conditions });
    let policy = STANDARD.encode(policy.to_string());
    let secret = format!("AWS4{}", signer.secret_key);
    let signing_key = [day.as_str(), "us-east-1", "s3", "aws4_request"]
        .iter()
        .fold(secret.into_bytes(), |key, part| hmac(&key, part));
    let signature = hex::encode(hmac(&signing_key, &policy));
    fields.push(("policy", policy.as_str()));
    fields.push(("x-amz-signature", signature.as_str()));
    let mut form = String::new();
    for (name, value) in fields {
        form +=
            &format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    form += "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
    form += &format!("{content}\r\n--x--\r\n");
    let headers = "Content-Type: multipart/form-data; boundary=x\r\n";
    let sent = request("POST", &format!("/{BUCKET}"), headers, &form);
    raw_text(&cloud.endpoint, &sent).await.unwrap()
}

#[tokio::test]
async fn a_form_is_valid_until_its_policy_ends() {
    let (cloud, s3) = cloud_with_bucket().await;
    let now = SystemTime::now();
    for signed in [now, now - 20 * MINUTE, now - 2880 * MINUTE] {
        let signer = Signer {
            signed,
            ..Signer::with("test", "test")
        };
        let reply = post(&cloud, &signer, "k", &[], "body").await;
        assert!(reply.starts_with("HTTP/1.1 204"), "{reply}");
    }
    assert_eq!(get(&s3, "k").await, b"body");
    let ended = Signer {
        signed: now - 10 * MINUTE,
        ends: now - MINUTE,
        ..Signer::with("test", "test")
    };
    let reply = post(&cloud, &ended, "k", &[], "body").await;
    assert!(reply.starts_with("HTTP/1.1 403"), "{reply}");
    assert!(reply.contains("<Code>AccessDenied</Code>"), "{reply}");
}

#[tokio::test]
async fn the_reply_to_a_form_has_the_address_and_the_entity_tag() {
    let (cloud, s3) = cloud_with_bucket().await;
    let key = "folder/a b.txt";
    let signer = &Signer::with("test", "test");
    let address = "http://x/a-bucket/folder/a%20b.txt";
    let cloud = &cloud;
    let send = |name: &'static str, value: &'static str| async move {
        post(cloud, signer, key, &[(name, value)], "body").await
    };
    let plain = send("success_action_status", "204").await;
    let etag = head(&s3, key).await.e_tag.unwrap();
    assert!(plain.starts_with("HTTP/1.1 204"), "{plain}");
    let created = send("success_action_status", "201").await;
    assert!(created.starts_with("HTTP/1.1 201"), "{created}");
    for reply in [plain, created.clone()] {
        assert!(reply.contains(&format!("\r\netag: {etag}\r\n")), "{reply}");
        assert!(
            reply.contains(&format!("\r\nlocation: {address}\r\n")),
            "{reply}"
        );
    }
    let (_, document) = created.split_once("<PostResponse>").unwrap();
    for (name, value) in [("Location", address), ("Bucket", BUCKET), ("Key", key)] {
        let element = format!("<{name}>{value}</{name}>");
        assert!(document.contains(&element), "{document}");
    }
    assert!(
        document.contains(&etag) || document.contains(&etag.replace('"', "&quot;")),
        "{document}"
    );
    let moved = send("success_action_redirect", "http://example.com/done").await;
    assert!(moved.starts_with("HTTP/1.1 303"), "{moved}");
    assert!(moved.contains("\r\nlocation: http://example.com/done?bucket=a-bucket&"));
}

#[tokio::test]
async fn a_form_has_a_largest_file() {
    let (cloud, _) = cloud_with_bucket().await;
    let signer = Signer::with("test", "test");
    let reply = post(&cloud, &signer, "k", &[], &"a".repeat(65 << 20)).await;
    assert!(reply.contains("<Code>EntityTooLarge</Code>"), "{reply}");
}

#[tokio::test]
async fn a_form_of_a_role_needs_its_token_and_its_policies() {
    let policy = r#"{"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::a-bucket/mine/*"
    }]}"#;
    let (cloud, role) = cloud_with_role(policy).await;
    let s3 = cloud.s3();
    create_bucket(&s3).await;
    let credentials = role.credentials_provider().unwrap();
    let credentials = credentials.provide_credentials().await.unwrap();
    let token = ("x-amz-security-token", credentials.session_token().unwrap());
    let signer = Signer::with(credentials.access_key_id(), credentials.secret_access_key());
    let tags = ("x-amz-tagging", "a=b");
    let wrong = ("x-amz-security-token", "wrong");
    for (key, fields, refusal) in [
        ("mine/a", Vec::new(), "<Code>InvalidToken</Code>"),
        ("mine/a", vec![wrong], "<Code>InvalidToken</Code>"),
        (
            "other",
            vec![token],
            "is not authorized to perform: s3:PutObject on resource: arn:aws:s3:::a-bucket/other ",
        ),
        ("mine/a", vec![token, tags], "s3:PutObjectTagging"),
    ] {
        let reply = post(&cloud, &signer, key, &fields, "body").await;
        assert!(reply.starts_with("HTTP/1.1 4"), "{reply}");
        assert!(reply.contains(refusal), "{reply}");
    }
    assert!(keys(&s3).await.is_empty());
    let reply = post(&cloud, &signer, "mine/a", &[token], "body").await;
    assert!(reply.starts_with("HTTP/1.1 204"), "{reply}");
    assert_eq!(get(&s3, "mine/a").await, b"body");
    cloud.stop().await;
}
