"""localcloud as a process, and boto3's clients for it."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.request

import boto3
from botocore.config import Config

REGION = "us-east-1"


class LocalCloud:
    """localcloud on a free port, with a data folder and a record of roles' calls that stay. A context manager."""

    def __init__(self, program, folder):
        self.program = program
        self.folder = folder
        self.record = folder / "calls.jsonl"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def __enter__(self):
        self.folder.mkdir(parents=True)
        with open(self.folder / "localcloud.log", "w") as log:
            self.process = subprocess.Popen([self.program, "--listen", f"127.0.0.1:{self.port}", "--data", self.folder / "data",
                                             "--record-calls", self.record],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                            env=dict(os.environ, NO_COLOR="1"), start_new_session=True)
        deadline = time.monotonic() + 20
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"localcloud did not start; its log is {self.folder / 'localcloud.log'}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.stop()

    def answers(self):
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{self.url}/healthz", timeout=1).status == 200
        return False

    def stop(self):
        """Ends localcloud, which ends the functions."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def session(self):
        """Returns what boto3.client needs besides the service."""
        return {"endpoint_url": self.url, "region_name": REGION, "aws_access_key_id": "test", "aws_secret_access_key": "test"}

    def client(self, service):
        config = Config(max_pool_connections=32, retries={"mode": "standard"}, proxies={}, s3={"addressing_style": "path"})
        return boto3.client(service, config=config, **self.session())


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
