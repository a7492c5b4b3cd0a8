"""Measures the start of face-recognition as Lambda sees it: the package's program under a Runtime API, with frames in localcloud.

Init is the time from the start of the process to its first request for an event, the first frame that from the event to the reply.
"""

import argparse
import json
import os
import queue
import re
import statistics
import subprocess
import tempfile
import threading
import time
import uuid
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from setup_lib.places import LOCAL, REPOSITORY
from video_lib.cloud import LocalCloud

BUCKETS = ("measure-stage-1", "measure-output")


class RuntimeApi(ThreadingHTTPServer):
    """Hands out the events that are put into `events`, and notes when each thing happened."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.events, self.asked, self.replies = queue.Queue(), queue.Queue(), queue.Queue()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes: the second one would wait for the other side's delayed acknowledgment.
    disable_nagle_algorithm = True

    def do_GET(self):
        self.server.asked.put(time.perf_counter())
        event = self.server.events.get()
        body = json.dumps(event).encode()
        self.send_response(200)
        deadline = int((time.time() + 60) * 1000)
        for name, value in {"Lambda-Runtime-Aws-Request-Id": str(uuid.uuid4()), "Lambda-Runtime-Deadline-Ms": str(deadline),
                            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:face-recognition",
                            "Content-Type": "application/json", "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.replies.put((time.perf_counter(), self.path, body))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(prog="python3 -m lambda_lib.measure", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--package", type=Path, help="what scripts/package-lambda made")
    what.add_argument("--folder", type=Path, help="what scripts/package-lambda --folder made, also with --engine torch")
    what.add_argument("--image", help="the container image of the functions; its start includes that of the container")
    parser.add_argument("--programs", type=Path, default=Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release")
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--frames", type=int, default=10, help="after the first one of each start")
    arguments = parser.parse_args()
    photos = sorted((LOCAL / "photos" / "val").glob("*/*.jpg"))
    with tempfile.TemporaryDirectory() as work, LocalCloud(arguments.programs / "localcloud", Path(work) / "cloud") as cloud:
        if arguments.image:
            function = Container(arguments.image)
        else:
            function = Program(arguments.folder or unzip(arguments.package, Path(work) / "task"))
        s3 = cloud.client("s3")
        for bucket in BUCKETS:
            s3.create_bucket(Bucket=bucket)
        starts = [measure(function, cloud, s3, photos, number, arguments.frames) for number in range(arguments.starts)]
    report(starts)


def unzip(package, folder):
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)
    (folder / "bootstrap").chmod(0o755)
    return folder


class Program:
    """The function as the runtime provided.al2023 starts it."""

    def __init__(self, folder):
        self.folder = folder.resolve()

    def start(self, settings):
        return subprocess.Popen([self.folder / "bootstrap"], env={"PATH": os.environ["PATH"], **settings}, cwd=self.folder,
                                stderr=subprocess.DEVNULL)

    @staticmethod
    def process_id(process):
        return process.pid

    @staticmethod
    def stop(process):
        process.terminate()
        process.wait(10)


class Container:
    """The function as its image starts it, confined as on Lambda: only /tmp can be written."""

    def __init__(self, image):
        self.image, self.name = image, f"muster-measure-{os.getpid()}"

    def start(self, settings):
        settings = dict(settings)
        handler = settings.pop("_HANDLER")
        variables = [part for setting in settings.items() for part in ("--env", "=".join(setting))]
        return subprocess.Popen(["docker", "run", "--rm", "--name", self.name, "--network", "host", "--read-only", "--tmpfs", "/tmp",
                                 *variables, self.image, handler], stderr=subprocess.DEVNULL)

    def process_id(self, _):
        return subprocess.run(["docker", "inspect", "--format", "{{.State.Pid}}", self.name], check=True, capture_output=True,
                              text=True).stdout.strip()

    def stop(self, process):
        # SIGTERM does not end the first process of a container by itself.
        subprocess.run(["docker", "kill", self.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process.wait(10)


def measure(function, cloud, s3, photos, number, frames):
    """Starts the function once. Returns milliseconds and the peak of its memory in MB."""
    api = RuntimeApi()
    threading.Thread(target=api.serve_forever, daemon=True).start()
    environment = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}", "_HANDLER": "face-recognition",
        "AWS_LAMBDA_FUNCTION_NAME": "face-recognition", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_ENDPOINT_URL": cloud.url,
        "MUSTER_INSTRUCTIONS": os.environ.get("MUSTER_INSTRUCTIONS", "")}
    started = time.perf_counter()
    process = function.start(environment)
    try:
        init = api.asked.get(timeout=60) - started
        times = [frame(api, s3, photos[(number + index) % len(photos)], f"{number}-{index}.jpg") for index in range(frames + 1)]
        status = Path(f"/proc/{function.process_id(process)}/status").read_text()
    finally:
        function.stop(process)
        api.shutdown()
    return {"init_ms": init * 1000, "first_ms": times[0] * 1000, "warm_ms": statistics.median(times[1:]) * 1000,
            "peak_mb": int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024}


def frame(api, s3, photo, key):
    s3.put_object(Bucket=BUCKETS[0], Key=key, Body=photo.read_bytes())
    sent = time.perf_counter()
    api.events.put({"bucket_name": BUCKETS[0], "image_file_name": key})
    replied, path, body = api.replies.get(timeout=60)
    api.asked.get(timeout=60)
    if not path.endswith("/response") or json.loads(body)["name"] != photo.parent.name:
        raise RuntimeError(f"{photo}: {path} {body}")
    return replied - sent


def report(starts):
    with open("/proc/cpuinfo") as info:
        model = next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    print(f"{len(starts)} starts on {model}, {os.cpu_count()} cores; MUSTER_INSTRUCTIONS={os.environ.get('MUSTER_INSTRUCTIONS', '')}")
    cold = [start["init_ms"] + start["first_ms"] for start in starts]
    for name, values in (("init", [it["init_ms"] for it in starts]), ("first frame", [it["first_ms"] for it in starts]),
                         ("init and first frame", cold), ("later frames", [it["warm_ms"] for it in starts])):
        print(f"  {name:22} median {statistics.median(values):6.1f} ms, most {max(values):6.1f} ms")
    print(f"  memory at peak         {max(it['peak_mb'] for it in starts):6.1f} MB")


if __name__ == "__main__":
    main()
