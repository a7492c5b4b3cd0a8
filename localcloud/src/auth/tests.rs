#![allow(clippy::unwrap_used)]

use http::Request;
use time::macros::datetime;

use super::*;
use crate::clock::Clock;
use crate::config::{Authentication, Credentials};
use crate::iam::Iam;

const NOW: OffsetDateTime = datetime!(2015-08-30 12:36:00 UTC);

/// The example of AWS's documentation, which publishes its signature.
fn example(signature: &str) -> http::request::Builder {
    Request::get("/?Action=ListUsers&Version=2010-05-08")
        .header(
            "Content-Type",
            "application/x-www-form-urlencoded; charset=utf-8",
        )
        .header("Host", "iam.amazonaws.com")
        .header("X-Amz-Date", "20150830T123600Z")
        .header(
            "Authorization",
            format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date, Signature={signature}"
            ),
        )
}

const SIGNATURE: &str = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";

fn keys(access_key: &str, secret_key: &str) -> Authentication {
    Authentication::Keys(Credentials {
        access_key: access_key.to_owned(),
        secret_key: secret_key.to_owned(),
    })
}

fn aws() -> Authentication {
    keys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
}

fn verify(
    authentication: &Authentication,
    request: http::request::Builder,
    body: &[u8],
    now: OffsetDateTime,
) -> Result<(), AuthError> {
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let iam = Iam::without_roles(Clock::start(), authentication.clone());
    iam.verify(&parts, body, "iam", now).map(drop)
}

#[test]
fn the_documented_example_is_accepted() {
    assert_eq!(verify(&aws(), example(SIGNATURE), b"", NOW), Ok(()));
}

#[test]
fn a_change_after_signing_is_refused() {
    let mismatch = Err(AuthError::Mismatch);
    assert_eq!(verify(&aws(), example(SIGNATURE), b"x", NOW), mismatch);
    let other_path = example(SIGNATURE).uri("/x?Action=ListUsers&Version=2010-05-08");
    assert_eq!(verify(&aws(), other_path, b"", NOW), mismatch);
    let other_query = example(SIGNATURE).uri("/?Action=ListRoles&Version=2010-05-08");
    assert_eq!(verify(&aws(), other_query, b"", NOW), mismatch);
    let other_method = example(SIGNATURE).method("POST");
    assert_eq!(verify(&aws(), other_method, b"", NOW), mismatch);
    let second_value = example(SIGNATURE).header("Host", "elsewhere");
    assert_eq!(verify(&aws(), second_value, b"", NOW), mismatch);
    let wrong = SIGNATURE.replace('5', "6");
    assert_eq!(verify(&aws(), example(&wrong), b"", NOW), mismatch);
    let wrong_secret = keys("AKIDEXAMPLE", "secret");
    assert_eq!(
        verify(&wrong_secret, example(SIGNATURE), b"", NOW),
        mismatch
    );
}

#[test]
fn parameters_may_have_any_order_and_encoding() {
    let request = example(SIGNATURE).uri("/?Version=2010%2d05-08&Action=List%55sers");
    assert_eq!(verify(&aws(), request, b"", NOW), Ok(()));
}

#[test]
fn an_unknown_key_and_a_skewed_clock_are_refused() {
    let other_key = keys("AKIDOTHER", "secret");
    assert_eq!(
        verify(&other_key, example(SIGNATURE), b"", NOW),
        Err(AuthError::UnknownKey)
    );
    for late in [Duration::minutes(16), Duration::minutes(-16)] {
        let refused = verify(&aws(), example(SIGNATURE), b"", NOW + late);
        assert!(matches!(refused, Err(AuthError::Skewed(_))), "{refused:?}");
    }
    assert_eq!(
        verify(&aws(), Request::get("/"), b"", NOW),
        Err(AuthError::Missing)
    );
    assert_eq!(
        verify(&Authentication::Any, Request::get("/"), b"", NOW),
        Ok(())
    );
}

#[test]
fn incomplete_signatures_are_refused_with_a_reason() {
    let credential = "Credential=K/20150830/us-east-1/iam/aws4_request";
    for authorization in [
        "Bearer x".to_owned(),
        "AWS4-HMAC-SHA256 ".to_owned(),
        format!("AWS4-HMAC-SHA256 {credential}"),
        format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=host"),
        "AWS4-HMAC-SHA256 Credential=K/iam, SignedHeaders=host, Signature=0".to_owned(),
        "AWS4-HMAC-SHA256 Credential=K/20150829/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0"
            .to_owned(),
    ] {
        let request = Request::get("/")
            .header("X-Amz-Date", "20150830T123600Z")
            .header("Authorization", &authorization);
        let refused = verify(&aws(), request, b"", NOW);
        assert!(matches!(refused, Err(AuthError::Incomplete(_))), "{authorization}: {refused:?}");
    }
}

#[test]
fn a_presigned_request_is_valid_until_it_expires() {
    let signed = |expires: &str| {
        let unsigned = format!(
            "Action=DescribeInstances&X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fiam%2Faws4_request\
             &X-Amz-Date=20150830T123600Z&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host"
        );
        let canonical = format!(
            "GET\n/\n{unsigned}\nhost:localhost\n\nhost\n{}",
            hex::encode(Sha256::digest(b""))
        );
        let text = format!(
            "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n{}",
            hex::encode(Sha256::digest(canonical))
        );
        let key = ["20150830", "us-east-1", "iam", "aws4_request"]
            .into_iter()
            .fold(
                b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec(),
                |key, part| hmac(&key, part.as_bytes()).to_vec(),
            );
        let signature = hex::encode(hmac(&key, text.as_bytes()));
        Request::get(format!("/?{unsigned}&X-Amz-Signature={signature}"))
            .header("Host", "localhost")
    };
    let soon = NOW + Duration::seconds(60);
    assert_eq!(verify(&aws(), signed("60"), b"", soon), Ok(()));
    assert_eq!(
        verify(&aws(), signed("60"), b"", soon + Duration::SECOND),
        Err(AuthError::Expired)
    );
    assert!(matches!(
        verify(&aws(), signed("604801"), b"", NOW),
        Err(AuthError::Incomplete(_))
    ));
}

#[test]
fn a_signature_is_for_one_service_and_one_host() {
    let (parts, ()) = example(SIGNATURE).body(()).unwrap().into_parts();
    assert_eq!(
        Iam::without_roles(Clock::start(), aws())
            .verify(&parts, b"", "sqs", NOW)
            .map(drop),
        Err(AuthError::Scope("sqs"))
    );
    let hostless = Request::get("/")
        .header("X-Amz-Date", "20150830T123600Z")
        .header(
            "Authorization",
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=x-amz-date, Signature=0",
        );
    let refused = verify(&aws(), hostless, b"", NOW);
    assert!(
        matches!(refused, Err(AuthError::Incomplete(_))),
        "{refused:?}"
    );
}

#[test]
fn the_last_date_of_the_calendar_is_refused_without_overflow() {
    let request = Request::get(
        "/?X-Amz-Signature=aa&X-Amz-SignedHeaders=host&X-Amz-Date=99991231T235959Z&X-Amz-Expires=604800\
         &X-Amz-Credential=AKIDEXAMPLE/99991231/us-east-1/iam/aws4_request",
    );
    let refused = verify(&aws(), request, b"", NOW);
    assert!(matches!(refused, Err(AuthError::Skewed(_))), "{refused:?}");
}
