"""IAM's users, roles and policies, STS's caller identity and CloudWatch's alarms: what graders ask about an account."""

import json

import pytest
from conftest import refused

POLICY = "arn:aws:iam::aws:policy/AmazonS3FullAccess"
ALARM = {
    "Namespace": "AWS/Billing", "MetricName": "EstimatedCharges", "Statistic": "Maximum", "Period": 21600,
    "EvaluationPeriods": 1, "Threshold": 5.5, "ComparisonOperator": "GreaterThanThreshold",
    "Dimensions": [{"Name": "Currency", "Value": "USD"}]}


@pytest.fixture
def iam(target):
    return target.client("iam")


def test_the_caller_of_an_account_has_an_arn(target):
    identity = target.client("sts").get_caller_identity()
    assert identity["Arn"].startswith(f"arn:aws:") and f":{identity['Account']}:" in identity["Arn"]
    assert identity["UserId"]


def test_a_user_is_created_once(iam, name):
    user = iam.create_user(UserName=name)["User"]
    assert user["Arn"].endswith(f":user/{name}") and user["UserId"].startswith("AIDA")
    assert iam.get_user(UserName=name)["User"]["CreateDate"] == user["CreateDate"]
    with refused("EntityAlreadyExists", 409):
        iam.create_user(UserName=name)


def test_policies_are_attached_to_users(iam, name):
    iam.create_user(UserName=name)
    assert iam.list_attached_user_policies(UserName=name, MaxItems=100)["AttachedPolicies"] == []
    iam.attach_user_policy(UserName=name, PolicyArn=POLICY)
    attached = iam.list_attached_user_policies(UserName=name)
    assert attached["AttachedPolicies"] == [{"PolicyName": "AmazonS3FullAccess", "PolicyArn": POLICY}]
    assert attached["IsTruncated"] is False
    with refused("DeleteConflict", 409):
        iam.delete_user(UserName=name)
    iam.detach_user_policy(UserName=name, PolicyArn=POLICY)
    iam.delete_user(UserName=name)
    with refused("NoSuchEntity", 404):
        iam.get_user(UserName=name)


def test_an_absent_user_is_no_such_entity(iam, name):
    with refused("NoSuchEntity", 404):
        iam.list_attached_user_policies(UserName=name)
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_user(UserName=name)


def test_an_alarm_is_described_as_it_was_put(cloudwatch, name):
    cloudwatch.put_metric_alarm(AlarmName=name, **ALARM)
    alarm, = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert {key: alarm[key] for key in ALARM} == ALARM
    assert alarm["AlarmArn"].endswith(f":alarm:{name}")
    assert alarm["StateValue"] in ("INSUFFICIENT_DATA", "OK")
    assert alarm["ActionsEnabled"] is True
    assert alarm["StateUpdatedTimestamp"].year > 2020
    cloudwatch.delete_alarms(AlarmNames=[name])
    assert cloudwatch.describe_alarms(AlarmNamePrefix=name)["MetricAlarms"] == []


def test_alarms_come_in_pages(cloudwatch, name):
    names = [f"{name}-{number}" for number in range(3)]
    for alarm in names:
        cloudwatch.put_metric_alarm(AlarmName=alarm, **ALARM)
    pages = cloudwatch.get_paginator("describe_alarms").paginate(
        AlarmNamePrefix=name, PaginationConfig={"PageSize": 2})
    seen = [[alarm["AlarmName"] for alarm in page["MetricAlarms"]] for page in pages]
    assert seen == [names[:2], names[2:]]


def test_an_operator_of_an_alarm_is_checked(cloudwatch, name):
    with refused(["ValidationError", "ValidationException"], 400):
        cloudwatch.put_metric_alarm(AlarmName=name, **dict(ALARM, ComparisonOperator="Above"))


TRUST = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]})
BASIC = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
DOCUMENT = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "arn:aws:s3:::b/*"}]}


@pytest.fixture
def role(iam, name):
    return iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST, Description="a role")["Role"]


def test_a_role_is_created_once(iam, role, name):
    assert role["Arn"].endswith(f":role/{name}") and role["RoleId"].startswith("AROA")
    described = iam.get_role(RoleName=name)["Role"]
    assert described["AssumeRolePolicyDocument"] == json.loads(TRUST)
    assert (described["Path"], described["Description"], described["MaxSessionDuration"]) == ("/", "a role", 3600)
    assert name in [role["RoleName"] for page in iam.get_paginator("list_roles").paginate() for role in page["Roles"]]
    with pytest.raises(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)
    iam.delete_role(RoleName=name)
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_role(RoleName=name)


def test_the_policies_of_a_role_are_listed(iam, role, name):
    iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=json.dumps(DOCUMENT))
    assert iam.get_role_policy(RoleName=name, PolicyName="inline")["PolicyDocument"] == DOCUMENT
    assert iam.list_role_policies(RoleName=name)["PolicyNames"] == ["inline"]
    with refused("DeleteConflict", 409):
        iam.delete_role(RoleName=name)
    iam.delete_role_policy(RoleName=name, PolicyName="inline")
    assert iam.list_role_policies(RoleName=name)["PolicyNames"] == []
    with refused("NoSuchEntity", 404):
        iam.get_role_policy(RoleName=name, PolicyName="inline")


def test_a_managed_policy_of_aws_is_attached_to_a_role(iam, role, name):
    iam.attach_role_policy(RoleName=name, PolicyArn=BASIC)
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    assert attached == [{"PolicyName": "AWSLambdaBasicExecutionRole", "PolicyArn": BASIC}]
    with refused("DeleteConflict", 409):
        iam.delete_role(RoleName=name)
    iam.detach_role_policy(RoleName=name, PolicyArn=BASIC)
    assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == []
    with refused("NoSuchEntity", 404):
        iam.detach_role_policy(RoleName=name, PolicyArn=BASIC)


def test_a_policy_of_the_account_is_attached_to_a_role(iam, role, name):
    policy = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(DOCUMENT))["Policy"]
    assert policy["Arn"].endswith(f":policy/{name}") and policy["DefaultVersionId"] == "v1"
    iam.attach_role_policy(RoleName=name, PolicyArn=policy["Arn"])
    assert iam.get_policy(PolicyArn=policy["Arn"])["Policy"]["AttachmentCount"] == 1
    assert policy["Arn"] in [listed["Arn"] for listed in iam.list_policies(Scope="Local")["Policies"]]
    with refused("DeleteConflict", 409):
        iam.delete_policy(PolicyArn=policy["Arn"])
    with refused("EntityAlreadyExists", 409):
        iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(DOCUMENT))
    iam.detach_role_policy(RoleName=name, PolicyArn=policy["Arn"])
    iam.delete_policy(PolicyArn=policy["Arn"])
    with refused("NoSuchEntity", 404):
        iam.get_policy(PolicyArn=policy["Arn"])


def test_a_policy_has_to_be_json(iam, role, name):
    with refused("MalformedPolicyDocument", 400):
        iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument="{")
    with refused("MalformedPolicyDocument", 400):
        iam.create_policy(PolicyName=name, PolicyDocument="[]")


def test_an_absent_role_is_no_such_entity(iam, name):
    for call in (iam.list_attached_role_policies, iam.list_role_policies, iam.delete_role):
        with refused("NoSuchEntity", 404):
            call(RoleName=name)
    with refused("NoSuchEntity", 404):
        iam.attach_role_policy(RoleName=name, PolicyArn=BASIC)


def test_services_refuse_actions_that_they_do_not_have(target, only_localcloud):
    with refused("InvalidAction", 400):
        target.client("iam").list_users()
