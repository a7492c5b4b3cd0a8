#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::evaluate::{Decision, decide};
use super::policy::{Policy, PolicyError};
use super::role::{Role, principal_keys};
use super::*;
use crate::table::rows;

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
    let table = r#"
        allowed     | in/a/b.jpg | "Action": "s3:GetObject", "Resource": "arn:aws:s3:::in/*"
        allowed     | in/a       | "Action": "S3:getobject", "Resource": "arn:aws:s3:::in/*"
        allowed     | in/a       | "Action": ["s3:Put*", "s3:Get?bject"], "Resource": "*"
        not allowed | in/a.png   | "Action": "*", "Resource": "arn:aws:s3:::in/*.jpg"
        not allowed | in/a       | "Action": "s3:PutObject", "Resource": "*"
        allowed     | in/a       | "NotAction": "s3:Delete*", "Resource": "*"
        not allowed | in/a       | "NotAction": "s3:Get*", "Resource": "*"
        allowed     | in/a       | "Action": "s3:*", "NotResource": "arn:aws:s3:::out/*"
        not allowed | in/a       | "Action": "s3:*", "NotResource": "arn:aws:s3:::in/*"
        // No wildcard spans two parts of an ARN.
        not allowed | in/a       | "Action": "s3:*", "Resource": "arn:aws:*:us-east-1:1:in/a"
        allowed     | faces/a    | "Action": "s3:*", "Resource": "arn:aws:s3:::${aws:PrincipalTag/team}/*"
        not allowed | other/a    | "Action": "s3:*", "Resource": "arn:aws:s3:::${aws:PrincipalTag/team}/*"
        // The value of a variable has no wildcards.
        not allowed | in/a       | "Action": "s3:*", "Resource": "arn:aws:s3:::${aws:PrincipalTag/odd}/*"
        allowed     | */a        | "Action": "s3:*", "Resource": "arn:aws:s3:::${aws:PrincipalTag/odd}/*"
        not allowed | in/a       | "Action": "s3:*", "Resource": "arn:aws:s3:::${aws:PrincipalTag/none}*"
        allowed     | in/a       | "Action": "s3:*", "Resource": "arn:aws:s3:::${aws:PrincipalTag/none, 'in'}/*"
        not allowed | in/a       | "Action": "s3:*", "Resource": "arn:aws:s3:::in/${*}"
    "#;
    for [expected, object, statement] in rows::<3>(table) {
        let (bucket, key) = object.split_once('/').unwrap();
        let role = parse(&format!(r#"{{"Effect": "Allow", {statement}}}"#)).unwrap();
        let found = outcome(&role, &get(bucket, key));
        assert_eq!(found, expected, "{statement} on {object}");
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
    let table = r#"
        allowed     | team=faces | "StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}
        not allowed | team=voices | "StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}
        not allowed | - | "StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}
        not allowed | team= | "StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/none}"}
        allowed     | team=faces | "StringEquals": {"aws:ResourceTag/team": ["a", "faces"]}
        not allowed | team=faces | "StringEquals": {"aws:ResourceTag/team": "FACES"}
        allowed     | team=faces | "StringEqualsIgnoreCase": {"aws:ResourceTag/team": "FACES"}
        allowed     | - | "StringEqualsIfExists": {"aws:ResourceTag/team": "faces"}
        not allowed | team=faces | "StringNotEquals": {"aws:ResourceTag/team": "faces"}
        allowed     | team=b | "StringNotEquals": {"aws:ResourceTag/team": ["a", "faces"]}
        allowed     | - | "StringNotEquals": {"aws:ResourceTag/team": "faces"}
        allowed     | team=faces | "StringLike": {"aws:ResourceTag/team": "f*s"}
        not allowed | team=faces | "StringEquals": {"aws:ResourceTag/team": "f*s"}
        not allowed | team=faces | "StringNotLike": {"aws:ResourceTag/team": "f*s"}
        allowed     | - | "Null": {"aws:ResourceTag/team": "true"}
        not allowed | - | "Null": {"aws:ResourceTag/team": false}
        not allowed | - | "Bool": {"aws:SecureTransport": true}
        allowed     | - | "Bool": {"aws:SecureTransport": "false"}
        allowed     | - | "ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/w*"}
        not allowed | - | "ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/w*"}
        not allowed | - | "ArnEquals": {"aws:PrincipalArn": "arn:*:role/worker"}
        allowed     | keys=Name | "ForAllValues:StringEquals": {"aws:TagKeys": ["Name", "a"]}
        not allowed | keys=Name,b | "ForAllValues:StringEquals": {"aws:TagKeys": "Name"}
        allowed     | - | "ForAllValues:StringEquals": {"aws:TagKeys": "Name"}
        allowed     | keys=Name,b | "ForAnyValue:StringEquals": {"aws:TagKeys": "Name"}
        not allowed | - | "ForAnyValue:StringEquals": {"aws:TagKeys": "Name"}
        // All conditions must hold.
        not allowed | team=faces | "StringEquals": {"aws:ResourceTag/team": "faces", "aws:PrincipalAccount": "1"}
    "#;
    for [expected, tags, condition] in rows::<3>(table) {
        let instance = "arn:aws:ec2:us-east-1:000000000000:instance/i-1";
        let mut access = Access::new("ec2:StopInstances", instance);
        match tags.split_once('=') {
            Some(("team", team)) => access = access.with("aws:ResourceTag/Team", team),
            Some((_, keys)) => {
                for key in keys.split(',') {
                    access = access.with("aws:TagKeys", key);
                }
            }
            None => {}
        }
        let role = parse(&format!(
            r#"{{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {{{condition}}}}}"#
        ));
        let found = outcome(&role.unwrap(), &access);
        assert_eq!(found, expected, "{condition} on {access:?}");
    }
}

#[test]
fn what_is_not_supported_is_an_error() {
    let table = r#"
        unknown field | "Action": "*", "Resource": "*", "Principal": "*"
        either Resource or NotResource | "Action": "*"
        either Action or NotAction | "Action": "*", "NotAction": "*", "Resource": "*"
        its Action is empty | "Action": [], "Resource": "*"
        is no action | "Action": "GetObject", "Resource": "*"
        is no ARN | "Action": "*", "Resource": "in/*"
        is no ARN | "Action": "*", "Resource": "arn:aws:s3*"
        before the fifth colon | "Action": "*", "Resource": "arn:aws:sqs:*:${aws:PrincipalAccount}:q"
        no variable | "Action": "*", "Resource": "arn:aws:s3:::${aws:username}"
        without } | "Action": "*", "Resource": "arn:aws:s3:::${aws:PrincipalTag/x"
        without a value | "Action": "*", "NotResource": "arn:aws:s3:::${aws:PrincipalTag/none}"
        a Sid has | "Sid": "a b", "Action": "*", "Resource": "*"
        no condition operator | "Action": "*", "Resource": "*", "Condition": {"NumericLessThan": {"aws:PrincipalAccount": "1"}}
        no condition key | "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:SourceIp": "1"}}
        no condition key | "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:PrincipalTag/": "1"}}
        takes "true" | "Action": "*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "yes"}}
    "#;
    for [reason, statement] in rows::<2>(table) {
        let error = parse(&format!(r#"{{"Effect": "Allow", {statement}}}"#));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(reason), "{statement}: {error}");
    }
    let maybe = r#"{"Effect": "Maybe", "Action": "*", "Resource": "*"}"#;
    let error = parse(maybe).unwrap_err().to_string();
    assert!(error.contains("unknown variant"), "{error}");
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
