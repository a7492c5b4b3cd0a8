"""CloudWatch's metrics, as graders read them."""

import datetime

import pytest
from conftest import refused

MINUTE = datetime.timedelta(minutes=1)


@pytest.fixture
def start():
    """A full minute, ten minutes ago."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return now.replace(second=0, microsecond=0) - 10 * MINUTE


@pytest.fixture
def durations(cloudwatch, name, start):
    """Puts values of a metric in the first and the third minute. Returns the metric."""
    metric = {"Namespace": name, "MetricName": name, "Dimensions": [{"Name": "FunctionName", "Value": "f"}]}
    for minutes, value in [(0, 100.0), (0, 300.0), (2, 50.0)]:
        cloudwatch.put_metric_data(Namespace=name, MetricData=[{
            "MetricName": name, "Dimensions": metric["Dimensions"], "Unit": "Milliseconds", "Value": value,
            "Timestamp": start + minutes * MINUTE}])
    return metric


def test_statistics_are_by_period(cloudwatch, durations, start):
    reply = cloudwatch.get_metric_statistics(
        **durations, StartTime=start, EndTime=start + 5 * MINUTE, Period=60,
        Statistics=["Average", "Maximum", "Minimum", "SampleCount", "Sum"])
    assert reply["Label"] == durations["MetricName"]
    points = sorted(reply["Datapoints"], key=lambda point: point["Timestamp"])
    assert [point["Timestamp"] for point in points] == [start, start + 2 * MINUTE]
    first = {key: points[0][key] for key in ("Average", "Maximum", "Minimum", "SampleCount", "Sum", "Unit")}
    assert first == {"Average": 200.0, "Maximum": 300.0, "Minimum": 100.0, "SampleCount": 2.0, "Sum": 400.0,
                     "Unit": "Milliseconds"}


def test_an_absent_metric_has_no_datapoints(cloudwatch, name, start):
    reply = cloudwatch.get_metric_statistics(
        Namespace=name, MetricName="Nothing", StartTime=start, EndTime=start + MINUTE, Period=60, Statistics=["Sum"])
    assert reply["Datapoints"] == [] and reply["Label"] == "Nothing"


def test_percentiles_are_extended_statistics(cloudwatch, name, start):
    cloudwatch.put_metric_data(Namespace=name, MetricData=[
        {"MetricName": "m", "Timestamp": start, "Values": [float(value) for value in range(1, 101)]}])
    reply = cloudwatch.get_metric_statistics(
        Namespace=name, MetricName="m", StartTime=start, EndTime=start + MINUTE, Period=60,
        ExtendedStatistics=["p50", "p95"])
    found = reply["Datapoints"][0]["ExtendedStatistics"]
    assert 47 < found["p50"] < 53 and 93 < found["p95"] < 97


def test_statistic_values_are_merged(cloudwatch, name, start):
    for low, high in [(1.0, 4.0), (2.0, 8.0)]:
        cloudwatch.put_metric_data(Namespace=name, MetricData=[
            {"MetricName": "m", "Timestamp": start,
             "StatisticValues": {"SampleCount": 2.0, "Sum": low + high, "Minimum": low, "Maximum": high}}])
    point, = cloudwatch.get_metric_statistics(
        Namespace=name, MetricName="m", StartTime=start, EndTime=start + MINUTE, Period=60,
        Statistics=["Average", "Minimum", "Maximum", "SampleCount"])["Datapoints"]
    assert (point["Average"], point["Minimum"], point["Maximum"], point["SampleCount"]) == (3.75, 1.0, 8.0, 4.0)


def query(metric, id="a", stat="Sum", **more):
    return {"Id": id, "MetricStat": {"Metric": metric, "Period": 60, "Stat": stat}, **more}


def test_data_are_series(cloudwatch, durations, start):
    reply = cloudwatch.get_metric_data(
        MetricDataQueries=[query(durations), query(durations, "b", "Maximum", Label="most")],
        StartTime=start, EndTime=start + 5 * MINUTE, ScanBy="TimestampAscending")
    a, b = reply["MetricDataResults"]
    assert (a["Id"], a["Values"], a["StatusCode"]) == ("a", [400.0, 50.0], "Complete")
    assert a["Timestamps"] == [start, start + 2 * MINUTE]
    assert (b["Id"], b["Label"], b["Values"]) == ("b", "most", [300.0, 50.0])


def test_data_are_newest_first_by_default(cloudwatch, durations, start):
    reply = cloudwatch.get_metric_data(
        MetricDataQueries=[query(durations)], StartTime=start, EndTime=start + 5 * MINUTE)
    assert reply["MetricDataResults"][0]["Values"] == [50.0, 400.0]


def test_data_come_in_pages(cloudwatch, durations, start):
    pages = list(cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=[query(durations), query(durations, "b")], StartTime=start, EndTime=start + 5 * MINUTE,
        MaxDatapoints=3))
    assert len(pages) == 2
    results = [(result["Id"], value) for page in pages for result in page["MetricDataResults"]
               for value in result["Values"]]
    assert results == [("a", 50.0), ("a", 400.0), ("b", 50.0), ("b", 400.0)]


def test_metrics_are_listed(cloudwatch, durations):
    listed = cloudwatch.list_metrics(Namespace=durations["Namespace"])["Metrics"]
    assert listed == [durations]
    by = {"Namespace": durations["Namespace"], "Dimensions": [{"Name": "FunctionName"}]}
    assert cloudwatch.list_metrics(**by)["Metrics"] == [durations]
    by["Dimensions"] = [{"Name": "FunctionName", "Value": "g"}]
    assert cloudwatch.list_metrics(**by)["Metrics"] == []


def test_queries_are_checked(cloudwatch, name, start):
    metric = {"Namespace": name, "MetricName": "m", "Period": 60, "Statistics": ["Sum"]}
    with refused("InvalidParameterValue", 400):
        cloudwatch.get_metric_statistics(**metric, StartTime=start, EndTime=start)
    with refused("InvalidParameterCombination", 400):
        cloudwatch.get_metric_statistics(**metric, StartTime=start - datetime.timedelta(days=2), EndTime=start)
    with refused("InvalidParameterValue", 400):
        cloudwatch.get_metric_statistics(**dict(metric, Period=7), StartTime=start, EndTime=start + MINUTE)


def test_ids_of_data_are_unique(cloudwatch, durations, start):
    with refused(["ValidationError", "ValidationException"], 400):
        cloudwatch.get_metric_data(
            MetricDataQueries=[query(durations), query(durations)], StartTime=start, EndTime=start + MINUTE)


def test_data_are_checked(cloudwatch, name, start):
    with refused("InvalidParameterValue", 400):
        cloudwatch.put_metric_data(Namespace="AWS/Lambda", MetricData=[{"MetricName": "m", "Value": 1.0}])
    with refused("InvalidParameterCombination", 400):
        cloudwatch.put_metric_data(Namespace=name, MetricData=[{"MetricName": "m", "Value": 1.0, "Values": [1.0]}])
    with refused("InvalidParameterValue", 400):
        cloudwatch.put_metric_data(Namespace=name, MetricData=[
            {"MetricName": "m", "Value": 1.0, "Timestamp": start - datetime.timedelta(days=30)}])


ALARM = {"Statistic": "Maximum", "Period": 300, "EvaluationPeriods": 1, "Threshold": 200.0}


def test_an_alarm_is_evaluated(cloudwatch, name, start):
    metric = {"Namespace": name, "MetricName": "m"}
    cloudwatch.put_metric_data(Namespace=name, MetricData=[
        {"MetricName": "m", "Value": 250.0, "Timestamp": start + 8 * MINUTE}])
    cloudwatch.put_metric_alarm(AlarmName=f"{name}-a", ComparisonOperator="GreaterThanThreshold", **ALARM, **metric)
    cloudwatch.put_metric_alarm(AlarmName=f"{name}-b", ComparisonOperator="LessThanThreshold", **ALARM, **metric)
    states = [alarm["StateValue"] for alarm in cloudwatch.describe_alarms(AlarmNamePrefix=name)["MetricAlarms"]]
    assert states == ["ALARM", "OK"]
    alarmed = cloudwatch.describe_alarms(AlarmNamePrefix=name, StateValue="ALARM")["MetricAlarms"]
    assert [alarm["AlarmName"] for alarm in alarmed] == [f"{name}-a"]


def test_an_alarm_without_data_has_insufficient_data(cloudwatch, name):
    cloudwatch.put_metric_alarm(AlarmName=name, ComparisonOperator="GreaterThanThreshold", Namespace=name,
                                MetricName="m", **ALARM)
    alarm, = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert alarm["StateValue"] == "INSUFFICIENT_DATA"


def test_a_state_can_be_set(cloudwatch, name):
    cloudwatch.put_metric_alarm(AlarmName=name, ComparisonOperator="GreaterThanThreshold", Namespace=name,
                                MetricName="m", **ALARM)
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")
    alarm, = cloudwatch.describe_alarms_for_metric(Namespace=name, MetricName="m")["MetricAlarms"]
    assert (alarm["StateValue"], alarm["StateReason"]) == ("ALARM", "a test")
    with refused(["ResourceNotFound", "ResourceNotFoundException"], 404):
        cloudwatch.set_alarm_state(AlarmName=f"{name}-other", StateValue="OK", StateReason="a test")


# What graders of serverless systems read after a run, for each function.
LAMBDA_METRICS = [("Invocations", "Sum"), ("Duration", "Average"), ("ConcurrentExecutions", "Maximum"),
                  ("Errors", "Sum"), ("Throttles", "Sum")]


def test_the_queries_of_graders(cloudwatch, name):
    end = datetime.datetime.now(datetime.timezone.utc)
    begin = end - datetime.timedelta(minutes=30)
    dimensions = [{"Name": "FunctionName", "Value": name}]
    for metric, statistic in LAMBDA_METRICS:
        reply = cloudwatch.get_metric_statistics(
            Namespace="AWS/Lambda", MetricName=metric, Dimensions=dimensions, StartTime=begin, EndTime=end, Period=60,
            Statistics=[statistic])
        assert reply["Datapoints"] == []
    reply = cloudwatch.get_metric_data(StartTime=begin, EndTime=end, MetricDataQueries=[
        query({"Namespace": "AWS/Lambda", "MetricName": metric, "Dimensions": dimensions}, metric.lower(), statistic,
              ReturnData=True) for metric, statistic in LAMBDA_METRICS])
    assert [result["Id"] for result in reply["MetricDataResults"]] == [metric.lower() for metric, _ in LAMBDA_METRICS]


def test_metric_math_is_refused(target, name, start, only_localcloud):
    with refused(["ValidationError", "ValidationException"], 400) as caught:
        target.client("cloudwatch").get_metric_data(
            MetricDataQueries=[{"Id": "a", "Expression": "SUM(METRICS())"}], StartTime=start, EndTime=start + MINUTE)
    assert "metric math" in caught.value.response["Error"]["Message"]
