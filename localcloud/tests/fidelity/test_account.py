"""IAM's users, STS's caller identity and CloudWatch's alarms: what graders ask about an account."""

import boto3
import pytest
from conftest import REGION, refused

POLICY = "arn:aws:iam::aws:policy/AmazonS3FullAccess"
ALARM = {
    "Namespace": "AWS/Billing", "MetricName": "EstimatedCharges", "Statistic": "Maximum", "Period": 21600,
    "EvaluationPeriods": 1, "Threshold": 5.5, "ComparisonOperator": "GreaterThanThreshold",
    "Dimensions": [{"Name": "Currency", "Value": "USD"}]}


@pytest.fixture
def iam(target):
    return target.client("iam")


@pytest.fixture(params=["json", "query"])
def cloudwatch(target, request):
    """A client of CloudWatch, in the protocol of today and in that of old."""
    if request.param == "json":
        return target.client("cloudwatch")
    session = boto3.session.Session()
    client_of = session._session.get_component("data_loader").load_service_model
    model = client_of("cloudwatch", "service-2")
    loader = session._session.get_component("data_loader")
    old = dict(model, metadata=dict(model["metadata"], protocol="query", protocols=["query"]))
    old["metadata"].pop("awsQueryCompatible", None)
    load = loader.load_service_model
    loader.load_service_model = lambda service, kind, *rest, **named: (
        old if (service, kind) == ("cloudwatch", "service-2") else load(service, kind, *rest, **named))
    return session.client("cloudwatch", region_name=REGION, endpoint_url=target.endpoint,
                          aws_access_key_id="test", aws_secret_access_key="test")


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


def test_services_refuse_actions_that_they_do_not_have(target, only_localcloud):
    with refused("InvalidAction", 400):
        target.client("iam").list_users()
