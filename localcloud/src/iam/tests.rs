#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::evaluate::{Decision, decide};
use super::policy::{Policy, PolicyError};
use super::role::{Role, principal_keys};
use super::*;

/// Returns a role with the tags `team = faces` and `odd = *`, and these statements.
fn parse(statements: &str) -> Result<Role, PolicyError> {
    let tags = [("team", "faces"), ("odd", "*")];
    let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let keys = principal_keys("worker", &BTreeMap::from(tags));
    let text = format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#);
    let policy = Policy::parse("test.json", &text, &keys)?;
    Ok(Role::new("worker", vec![policy], keys))
}

/// Returns `allowed`, `denied` or `not allowed`.
fn outcome(role: &Role, access: &Access) -> &'static str {
    match decide(role, access) {
        Decision::Allowed(_) => "allowed",
        Decision::Denied(_) => "denied",
        Decision::NotAllowed => "not allowed",
    }
}

fn get(bucket: &str, key: &str) -> Access {
    Access::new("s3:GetObject", format!("arn:aws:s3:::{bucket}/{key}"))
}

#[test]
fn actions_and_resources_decide() {
    for (statement, access, expected) in [
        (
            r#""Action": "s3:GetObject", "Resource": "arn:aws:s3:::in/*""#,
            get("in", "a/b.jpg"),
            "allowed",
        ),
        (
            r#""Action": "S3:getobject", "Resource": "arn:aws:s3:::in/*""#,
            get("in", "a"),
            "allowed",
        ),
        (
            r#""Action": ["s3:Put*", "s3:Get?bject"], "Resource": "*""#,
            get("in", "a"),
            "allowed",
        ),
        (
            r#""Action": "*", "Resource": "arn:aws:s3:::in/*.jpg""#,
            get("in", "a.png"),
            "not allowed",
        ),
        (
            r#""Action": "s3:PutObject", "Resource": "*""#,
            get("in", "a"),
            "not allowed",
        ),
        (
            r#""NotAction": "s3:Delete*", "Resource": "*""#,
            get("in", "a"),
            "allowed",
        ),
        (
            r#""NotAction": "s3:Get*", "Resource": "*""#,
            get("in", "a"),
            "not allowed",
        ),
        (
            r#""Action": "s3:*", "NotResource": "arn:aws:s3:::out/*""#,
            get("in", "a"),
            "allowed",
        ),
        (
            r#""Action": "s3:*", "NotResource": "arn:aws:s3:::in/*""#,
            get("in", "a"),
            "not allowed",
        ),
        // No wildcard spans two parts of an ARN.
        (
            r#""Action": "s3:*", "Resource": "arn:aws:*:us-east-1:1:in/a""#,
            get("in", "a"),
            "not allowed",
        ),
        (
            r#""Action": "s3:*", "Resource": "arn:aws:s3:::${aws:PrincipalTag/team}/*""#,
            get("faces", "a"),
            "allowed",
        ),
        (
            r#""Action": "s3:*", "Resource": "arn:aws:s3:::${aws:PrincipalTag/team}/*""#,
            get("other", "a"),
            "not allowed",
        ),
        // The value of a variable has no wildcards.
        (
            r#""Action": "s3:*", "Resource": "arn:aws:s3:::${aws:PrincipalTag/odd}/*""#,
            get("in", "a"),
            "not allowed",
        ),
        (
            r#""Action": "s3:*", "Resource": "arn:aws:s3:::${aws:PrincipalTag/odd}/*""#,
            get("*", "a"),
            "allowed",
        ),
        (
            r#""Action": "s3:*", "Resource": "arn:aws:s3:::${aws:PrincipalTag/none}*""#,
            get("in", "a"),
            "not allowed",
        ),
        (
            r#""Action": "s3:*", "Resource": "arn:aws:s3:::${aws:PrincipalTag/none, 'in'}/*""#,
            get("in", "a"),
            "allowed",
        ),
        (
            r#""Action": "s3:*", "Resource": "arn:aws:s3:::in/${*}""#,
            get("in", "a"),
            "not allowed",
        ),
    ] {
        let role = parse(&format!(r#"{{"Effect": "Allow", {statement}}}"#)).unwrap();
        assert_eq!(
            outcome(&role, &access),
            expected,
            "{statement} on {access:?}"
        );
    }
}

#[test]
fn a_deny_wins() {
    let role = parse(
        r#"{"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
           {"Effect": "Deny", "Action": "s3:Get*", "Resource": "arn:aws:s3:::in/secret*"}"#,
    )
    .unwrap();
    assert_eq!(outcome(&role, &get("in", "open")), "allowed");
    assert_eq!(outcome(&role, &get("in", "secret")), "denied");
    assert_eq!(
        outcome(&role, &Access::new("sqs:SendMessage", "*")),
        "not allowed"
    );
}

#[test]
fn conditions_hold_by_their_operators() {
    let stop = || {
        Access::new(
            "ec2:StopInstances",
            "arn:aws:ec2:us-east-1:000000000000:instance/i-1",
        )
    };
    let owned = |by: &str| stop().with("aws:ResourceTag/Team", by);
    let keys = |keys: &[&str]| {
        keys.iter()
            .fold(stop(), |access, key| access.with("aws:TagKeys", *key))
    };
    let tag = r#""aws:ResourceTag/team""#;
    for (condition, access, holds) in [
        (
            format!(r#""StringEquals": {{{tag}: "${{aws:PrincipalTag/team}}"}}"#),
            owned("faces"),
            true,
        ),
        (
            format!(r#""StringEquals": {{{tag}: "${{aws:PrincipalTag/team}}"}}"#),
            owned("voices"),
            false,
        ),
        (
            format!(r#""StringEquals": {{{tag}: "${{aws:PrincipalTag/team}}"}}"#),
            stop(),
            false,
        ),
        (
            format!(r#""StringEquals": {{{tag}: "${{aws:PrincipalTag/none}}"}}"#),
            owned(""),
            false,
        ),
        (
            format!(r#""StringEquals": {{{tag}: ["a", "faces"]}}"#),
            owned("faces"),
            true,
        ),
        (
            format!(r#""StringEquals": {{{tag}: "FACES"}}"#),
            owned("faces"),
            false,
        ),
        (
            format!(r#""StringEqualsIgnoreCase": {{{tag}: "FACES"}}"#),
            owned("faces"),
            true,
        ),
        (
            format!(r#""StringEqualsIfExists": {{{tag}: "faces"}}"#),
            stop(),
            true,
        ),
        (
            format!(r#""StringNotEquals": {{{tag}: "faces"}}"#),
            owned("faces"),
            false,
        ),
        (
            format!(r#""StringNotEquals": {{{tag}: ["a", "faces"]}}"#),
            owned("b"),
            true,
        ),
        (
            format!(r#""StringNotEquals": {{{tag}: "faces"}}"#),
            stop(),
            true,
        ),
        (
            format!(r#""StringLike": {{{tag}: "f*s"}}"#),
            owned("faces"),
            true,
        ),
        (
            format!(r#""StringEquals": {{{tag}: "f*s"}}"#),
            owned("faces"),
            false,
        ),
        (
            format!(r#""StringNotLike": {{{tag}: "f*s"}}"#),
            owned("faces"),
            false,
        ),
        (format!(r#""Null": {{{tag}: "true"}}"#), stop(), true),
        (format!(r#""Null": {{{tag}: false}}"#), stop(), false),
        (
            r#""Bool": {"aws:SecureTransport": true}"#.to_owned(),
            stop(),
            false,
        ),
        (
            r#""Bool": {"aws:SecureTransport": "false"}"#.to_owned(),
            stop(),
            true,
        ),
        (
            r#""ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/w*"}"#.to_owned(),
            stop(),
            true,
        ),
        (
            r#""ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/w*"}"#.to_owned(),
            stop(),
            false,
        ),
        (
            r#""ArnEquals": {"aws:PrincipalArn": "arn:*:role/worker"}"#.to_owned(),
            stop(),
            false,
        ),
        (
            r#""ForAllValues:StringEquals": {"aws:TagKeys": ["Name", "a"]}"#.to_owned(),
            keys(&["Name"]),
            true,
        ),
        (
            r#""ForAllValues:StringEquals": {"aws:TagKeys": "Name"}"#.to_owned(),
            keys(&["Name", "b"]),
            false,
        ),
        (
            r#""ForAllValues:StringEquals": {"aws:TagKeys": "Name"}"#.to_owned(),
            stop(),
            true,
        ),
        (
            r#""ForAnyValue:StringEquals": {"aws:TagKeys": "Name"}"#.to_owned(),
            keys(&["Name", "b"]),
            true,
        ),
        (
            r#""ForAnyValue:StringEquals": {"aws:TagKeys": "Name"}"#.to_owned(),
            stop(),
            false,
        ),
        // All conditions must hold.
        (
            format!(r#""StringEquals": {{{tag}: "faces", "aws:PrincipalAccount": "1"}}"#),
            owned("faces"),
            false,
        ),
    ] {
        let statement = format!(
            r#"{{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {{{condition}}}}}"#
        );
        let expected = if holds { "allowed" } else { "not allowed" };
        let role = parse(&statement).unwrap();
        assert_eq!(
            outcome(&role, &access),
            expected,
            "{condition} on {access:?}"
        );
    }
}

#[test]
fn what_is_not_supported_is_an_error() {
    let allow = |rest: &str| format!(r#"{{"Effect": "Allow", {rest}}}"#);
    let when = |condition: &str| {
        allow(&format!(
            r#""Action": "*", "Resource": "*", "Condition": {{{condition}}}"#
        ))
    };
    for (statements, reason) in [
        (
            allow(r#""Action": "*", "Resource": "*", "Principal": "*""#),
            "unknown field",
        ),
        (allow(r#""Action": "*""#), "either Resource or NotResource"),
        (
            allow(r#""Action": "*", "NotAction": "*", "Resource": "*""#),
            "either Action or NotAction",
        ),
        (
            allow(r#""Action": [], "Resource": "*""#),
            "its Action is empty",
        ),
        (
            allow(r#""Action": "GetObject", "Resource": "*""#),
            "is no action",
        ),
        (allow(r#""Action": "*", "Resource": "in/*""#), "is no ARN"),
        (
            allow(r#""Action": "*", "Resource": "arn:aws:s3*""#),
            "is no ARN",
        ),
        (
            allow(r#""Action": "*", "Resource": "arn:aws:sqs:*:${aws:PrincipalAccount}:q""#),
            "before the fifth colon",
        ),
        (
            allow(r#""Action": "*", "Resource": "arn:aws:s3:::${aws:username}""#),
            "no variable",
        ),
        (
            allow(r#""Action": "*", "Resource": "arn:aws:s3:::${aws:PrincipalTag/x""#),
            "without }",
        ),
        (
            allow(r#""Action": "*", "NotResource": "arn:aws:s3:::${aws:PrincipalTag/none}""#),
            "without a value",
        ),
        (
            allow(r#""Sid": "a b", "Action": "*", "Resource": "*""#),
            "a Sid has",
        ),
        (
            when(r#""NumericLessThan": {"aws:PrincipalAccount": "1"}"#),
            "no condition operator",
        ),
        (
            when(r#""StringEquals": {"aws:SourceIp": "1"}"#),
            "no condition key",
        ),
        (
            when(r#""StringEquals": {"aws:PrincipalTag/": "1"}"#),
            "no condition key",
        ),
        (
            when(r#""Bool": {"aws:SecureTransport": "yes"}"#),
            "takes \"true\"",
        ),
        (
            r#"{"Effect": "Maybe", "Action": "*", "Resource": "*"}"#.to_owned(),
            "unknown variant",
        ),
    ] {
        let error = parse(&statements).unwrap_err().to_string();
        assert!(error.contains(reason), "{statements}: {error}");
    }
    let old = r#"{"Version": "2008-10-17", "Statement": []}"#;
    let error = Policy::parse("old.json", old, &Default::default()).unwrap_err();
    assert!(error.to_string().contains("2012-10-17"), "{error}");
}

#[test]
fn sessions_are_renewed_after_half_of_their_time() {
    let role = Arc::new(Role::new("worker", Vec::new(), Default::default()));
    let mut sessions = Sessions::new(Duration::from_secs(100));
    let key = |session: &Session| session.credentials.access_key.clone();
    let first = sessions.of(&role, "i-1", 1_000);
    assert_eq!(first.credentials.expires, 101_000);
    assert_eq!(key(&sessions.of(&role, "i-1", 50_999)), key(&first));
    assert_ne!(key(&sessions.of(&role, "i-2", 50_999)), key(&first));
    let second = sessions.of(&role, "i-1", 51_000);
    assert_ne!(key(&second), key(&first));
    // The first is still valid, and known as expired for a day.
    assert!(sessions.find(&key(&first)).is_some());
    sessions.of(&role, "i-3", 101_000 + 24 * 60 * 60 * 1000);
    assert!(sessions.find(&key(&first)).is_none());
    assert!(!format!("{second:?}").contains(&second.credentials.secret_key));
}

#[test]
fn sessions_of_many_names_are_forgotten() {
    let role = Arc::new(Role::new("worker", Vec::new(), Default::default()));
    let mut sessions = Sessions::new(Duration::from_secs(100));
    let mut now = 0;
    for number in 0..20_000 {
        now += 100;
        sessions.of(&role, &format!("i-{number}"), now);
    }
    assert!(sessions.size() <= 10_001, "{}", sessions.size());
    // One that is valid is never forgotten.
    let valid = sessions.of(&role, "i-19500", now);
    assert_eq!(valid.credentials.issued, 1_950_100);
    sessions.of(&role, "i-last", now + 2 * 24 * 60 * 60 * 1000);
    assert_eq!(sessions.size(), 1);
}
