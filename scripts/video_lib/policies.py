"""Whether the functions' policies in deploy/aws/iam allow each of their calls, and have nothing that no call needs.

localcloud gives each function its role's credentials, and records what it calls. `exercise` makes the calls that a run of clips does
not: a timeline, the stream, and clips and frames that are damaged, gone or half done.
"""

import base64
import json
import subprocess
import time
import urllib.request

from . import deploy

FUNCTIONS = (deploy.SPLITTING, deploy.RECOGNITION, deploy.DETECTION)
# Lambda itself uses these rights of a role, which localcloud does not record: it logs, takes messages and keeps failed events.
OF_LAMBDA = {(deploy.SPLITTING, "KeepFailedEvents"), (deploy.RECOGNITION, "TakeFaces"), *((name, "Log") for name in FUNCTIONS)}
DEAD_LETTERS = "functions-dead-letter-queue"
# Needed when a frame is deleted in the moment in which it is stored again.
RARE = {(deploy.SPLITTING, "SeeMissingObjects", "arn:aws:s3:::${aws:PrincipalTag/muster-prefix}-stage-1")}
WAIT_S = 60


def exercise(cloud, prefix, package, clip, folder):
    """Has the functions make their other calls, for a clip with a face. Pictures of the stream are written to `folder`."""
    s3, functions, sqs = cloud.client("s3"), cloud.client("lambda"), cloud.client("sqs")
    source, staged, output = (f"{prefix}-{part}" for part in ("input", "stage-1", "output"))

    def invoke(name, event, error=None):
        reply = json.load(functions.invoke(FunctionName=name, Payload=json.dumps(event))["Payload"])
        if (reply or {}).get("errorType") != error:
            raise RuntimeError(f"{name} replied {reply} to {event}")

    present = lambda key: any(item["Key"] == key for item in s3.list_objects_v2(Bucket=output, Prefix=key).get("Contents", []))

    # A clip that is none, one that is gone, and one whose event comes again before its result is stored.
    s3.put_object(Bucket=source, Key="damaged.mp4", Body=b"no clip")
    until(lambda: present("damaged.txt"), "the outcome of a damaged clip")
    invoke(deploy.SPLITTING, created(source, "gone.mp4"))
    invoke(deploy.RECOGNITION, {"bucket_name": staged, "image_file_name": "gone.jpg"}, error="NoFrame")
    result = f"{clip.stem}.txt"
    s3.delete_object(Bucket=output, Key=result)
    s3.put_object(Bucket=source, Key=clip.name, Body=clip.read_bytes())
    until(lambda: present(result), "the name in a clip")
    s3.delete_object(Bucket=output, Key=result)
    invoke(deploy.SPLITTING, created(source, clip.name))
    until(lambda: present(result), "the name after a second event")

    deploy.deploy(cloud.session(), prefix=prefix, package=package, mode="timeline")
    s3.put_object(Bucket=source, Key="timeline.mp4", Body=clip.read_bytes())
    until(lambda: present("timeline.json"), "the timeline")

    made = deploy.deploy(cloud.session(), prefix=prefix, package=package, mode="stream", public_url=True)
    pictures = {"face": ["-i", clip], "nothing": ["-f", "lavfi", "-i", "color=gray:size=320x240"]}
    for name, arguments in pictures.items():
        file = folder / f"{name}.jpg"
        subprocess.run(["ffmpeg", "-v", "error", "-nostdin", *arguments, "-frames:v", "1", file], check=True)
        post(made["url"], {"request_id": name, "filename": file.name, "content": base64.b64encode(file.read_bytes()).decode()})
    replies = made["queues"][f"{prefix}-resp-queue"]
    left = set(pictures)

    def replied():
        for message in sqs.receive_message(QueueUrl=replies, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", []):
            left.discard(json.loads(message["Body"])["request_id"])
        return not left

    until(replied, "the stream's replies")


def created(bucket, key):
    """Returns an event of S3."""
    return {"Records": [{
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-east-1", "eventTime": "1970-01-01T00:00:00.000Z",
        "eventName": "ObjectCreated:Put", "userIdentity": {"principalId": "test"}, "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {}, "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": bucket}, "object": {"key": key}}}]}


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=WAIT_S) as reply:
        return reply.read()


def until(condition, what):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come within {WAIT_S} s")
        time.sleep(0.1)


def faults(record):
    """Returns a line for each call that was denied, and for each part of the policies that no call needed, or that only Lambda
    should use. `record` is localcloud's file."""
    calls = [json.loads(line) for line in record.read_text().splitlines()]
    denied = [f"{call['role']} may not {call['action']} on {call['resource']}" for call in calls if call["decision"] != "allowed"]
    used = set()
    for by in (call["by"] for call in calls if call["decision"] == "allowed"):
        used |= {(by["policy"], by["sid"], by["action"]), (by["policy"], by["sid"], by["resource"])}
    unused = []
    for name in FUNCTIONS:
        for statement in json.loads((deploy.POLICIES / f"{name}.json").read_text())["Statement"]:
            sid = statement["Sid"]
            for part in parts(statement["Action"]) + parts(statement["Resource"]):
                of_lambda = (name, sid) in OF_LAMBDA or part.endswith(DEAD_LETTERS)
                if of_lambda == ((name, sid, part) in used) and (name, sid, part) not in RARE:
                    unused.append(f"{name}.json: {part} of {sid} is needed by the function" if of_lambda else
                                  f"{name}.json: no call needs {part} of {sid}")
    return sorted(set(denied)) + unused


def parts(value):
    return value if isinstance(value, list) else [value]
