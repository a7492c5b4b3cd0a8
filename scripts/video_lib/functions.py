"""What CloudWatch knows of functions: how many run at once, and how long they take."""

import math
import re
import statistics
import time
from datetime import datetime, timedelta, timezone

HEADER = "   time  uploaded  frames  results  splitting  recognizing"
REPORT = re.compile(r"\bDuration: ([\d.]+) ms\b")
INIT = re.compile(r"\bInit Duration: ([\d.]+) ms\b")
MEMORY = re.compile(r"\bMax Memory Used: (\d+) MB\b")


def line(seconds, counts, running):
    uploaded, frames, results = counts
    splitting, recognizing = running
    return f"{seconds:6.1f}s  {uploaded:8}  {frames:6}  {results:7}  {splitting:9}  {recognizing:11}"


class Watched:
    def __init__(self, cloud, names):
        self.names = names
        self.logs = cloud.client("logs")
        self.cloudwatch = cloud.client("cloudwatch")
        self.started = datetime.now(timezone.utc) - timedelta(seconds=1)
        self.most = dict.fromkeys(names, 0)

    def running(self):
        """Returns how many of each function ran at once in this second or the last one."""
        now = datetime.now(timezone.utc)
        running = [self.maximum(name, now - timedelta(seconds=1), now + timedelta(seconds=1), 1) for name in self.names]
        for name, count in zip(self.names, running):
            self.most[name] = max(self.most[name], count)
        return running

    def maximum(self, name, begin, end, period):
        found = self.cloudwatch.get_metric_statistics(
            Namespace="AWS/Lambda", MetricName="ConcurrentExecutions", Dimensions=[{"Name": "FunctionName", "Value": name}],
            StartTime=begin, EndTime=end, Period=period, Statistics=["Maximum"])
        # CloudWatch may begin earlier than it is asked to, with the whole minute.
        points = (point["Maximum"] for point in found["Datapoints"] if point["Timestamp"] >= begin - timedelta(seconds=period))
        return int(max(points, default=0))

    def wait_until_idle(self):
        """Waits until no function has run for a second, at most 10 s."""
        deadline = time.monotonic() + 10
        while any(self.running()) and time.monotonic() < deadline:
            time.sleep(0.1)

    def figures(self):
        """Returns times in milliseconds and memory of each function, by the lines that Lambda logs of each invocation, and the
        most invocations at once."""
        end = datetime.now(timezone.utc) + timedelta(seconds=1)
        return {name: dict(self.durations(name), most_at_once=max(self.most[name], self.maximum(name, self.started, end, 60)))
                for name in self.names}

    def durations(self, name):
        reports = list(self.reports(name))
        times = sorted(float(REPORT.search(report)[1]) for report in reports)
        inits = [float(found[1]) for found in map(INIT.search, reports) if found]
        memory = [int(found[1]) for found in map(MEMORY.search, reports) if found]
        return {
            "invocations": len(times),
            "mean_ms": round(statistics.mean(times), 1) if times else math.inf,
            "p95_ms": times[math.ceil(0.95 * len(times)) - 1] if times else None,
            "cold_starts": len(inits),
            "init_mean_ms": round(statistics.mean(inits), 1) if inits else None,
            "memory_max_mb": max(memory, default=None),
        }

    def reports(self, name):
        pages = self.logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{name}", filterPattern="REPORT")
        for page in pages:
            yield from (event["message"] for event in page["events"] if event["message"].startswith("REPORT"))
