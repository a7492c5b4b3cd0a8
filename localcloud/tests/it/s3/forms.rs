//! S3: browsers' forms.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use time::OffsetDateTime;
use time::macros::format_description;

use super::{BUCKET, cloud_with_bucket, get, head};
use crate::cloud::{Cloud, raw_text, request};

const MINUTE: Duration = Duration::from_secs(60);

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Sends a form for a file with the content `body` that was signed and ends at certain times. Returns the whole reply.
async fn post(
    cloud: &Cloud,
    key: &str,
    signed: SystemTime,
    ends: SystemTime,
    more: &[(&str, &str)],
) -> String {
    let signed = OffsetDateTime::from(signed);
    let day = signed.format(format_description!("[year][month][day]"));
    let time = signed.format(format_description!(
        "[year][month][day]T[hour][minute][second]Z"
    ));
    let ends = OffsetDateTime::from(ends).format(format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second]Z"
    ));
    let (day, time, ends) = (day.unwrap(), time.unwrap(), ends.unwrap());
    let credential = format!("test/{day}/us-east-1/s3/aws4_request");
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
    let signing_key = [day.as_str(), "us-east-1", "s3", "aws4_request"]
        .iter()
        .fold(b"AWS4test".to_vec(), |key, part| hmac(&key, part));
    let signature = hex::encode(hmac(&signing_key, &policy));
    fields.push(("policy", policy.as_str()));
    fields.push(("x-amz-signature", signature.as_str()));
    let mut form = String::new();
    for (name, value) in fields {
        form +=
            &format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    form += "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nbody\r\n--x--\r\n";
    let headers = "Content-Type: multipart/form-data; boundary=x\r\n";
    let sent = request("POST", &format!("/{BUCKET}"), headers, &form);
    raw_text(&cloud.endpoint, &sent).await.unwrap()
}

#[tokio::test]
async fn a_form_is_valid_until_its_policy_ends() {
    let (cloud, s3) = cloud_with_bucket().await;
    let now = SystemTime::now();
    for signed in [now, now - 20 * MINUTE, now - 2880 * MINUTE] {
        let reply = post(&cloud, "k", signed, now + 60 * MINUTE, &[]).await;
        assert!(reply.starts_with("HTTP/1.1 204"), "{reply}");
    }
    assert_eq!(get(&s3, "k").await, b"body");
    let reply = post(&cloud, "k", now - 10 * MINUTE, now - MINUTE, &[]).await;
    assert!(reply.starts_with("HTTP/1.1 403"), "{reply}");
    assert!(reply.contains("<Code>AccessDenied</Code>"), "{reply}");
}

#[tokio::test]
async fn the_reply_to_a_form_has_the_address_and_the_entity_tag() {
    let (cloud, s3) = cloud_with_bucket().await;
    let (key, now) = ("folder/a b.txt", SystemTime::now());
    let address = "http://x/a-bucket/folder/a%20b.txt";
    let cloud = &cloud;
    let send = |name: &'static str, value: &'static str| async move {
        post(cloud, key, now, now + 60 * MINUTE, &[(name, value)]).await
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
