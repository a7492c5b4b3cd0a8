"""A real stack, started by scripts/stack, and what tests do to it."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PHOTOS = ROOT / ".local" / "photos" / "val"
TRAINING = ROOT / ".local" / "photos" / "train"


def photos():
    """Returns the sample photos as (path, name of the person), in order."""
    found = sorted(PHOTOS.glob("*/*.jpg"))
    assert found, f"no photos in {PHOTOS}: run scripts/setup"
    return [(path, path.parent.name) for path in found]


def wait_for(what, condition, seconds=20):
    """Polls until `condition` returns something true, and returns that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


class Stack:
    def __init__(self, programs, work, **settings):
        self.programs = Path(programs)
        self.work = Path(work)
        environment = dict(os.environ, ENGINE="native", PORTS="free", MUSTER_BIN=str(programs), MUSTER_WORK=str(work),
                           DATA=str(self.work / "cloud"), **settings)
        environment.pop("MUSTER_API_KEY", None)
        self.process = subprocess.Popen([ROOT / "scripts" / "stack", "up"], cwd=ROOT, env=environment, text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.output = ""
        # `scripts/stack` fails early by itself; this bounds a start that hangs.
        timer = threading.Timer(120, self.process.terminate)
        timer.start()
        for line in self.process.stdout:
            self.output += line
            if "Ctrl-C ends it" in line:
                break
        timer.cancel()
        address = re.search(r"^  page, HTTP +(\S+)", self.output, re.MULTILINE)
        if not address:
            self.stop()
            raise AssertionError(f"scripts/stack up failed:\n{self.output}")
        self.url = address[1]
        key = re.search(r"MUSTER_API_KEY=(\S+)", self.output)
        self.key = key[1] if key else ""
        self.scaler = re.search(r"MUSTER_SCALER=(\S+)", self.output)[1]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def logs(self):
        """The ends of the logs of the instances, for a test that failed."""
        logs = sorted((self.work / "cloud").glob("instances/*/console.log"), key=lambda it: it.stat().st_mtime)
        return "\n".join(f"--- {log}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:]) for log in logs[-3:])

    def service(self, name):
        """Returns the process id of `front`, `scaler` or `gateway` of this stack."""
        return wait_for(f"the process of {name}", lambda: self._process(name))

    def _process(self, name):
        listen = f"MUSTER_HTTP_LISTEN={self.url.split('://')[1]}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if folder.joinpath("exe").resolve() != (self.programs / name).resolve():
                    continue
                environment = folder.joinpath("environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if listen in environment:
                return int(folder.name)
        return None

    def kill(self, name):
        """Kills a service, and waits until web-instance has started it again."""
        before = self.service(name)
        os.kill(before, signal.SIGKILL)
        wait_for(f"a new {name}", lambda: self._process(name) not in (None, before))

    def send(self, count):
        """Sends photos at once from threads. Returns a function that waits for the answers, as (status, text) pairs."""
        samples = photos()
        pool = ThreadPoolExecutor(count)
        sent = [pool.submit(self.post, samples[index % len(samples)][0], f"{index}-{uuid.uuid4().hex}.jpg")
                for index in range(count)]

        def answers():
            with pool:
                return [it.result() for it in sent]
        return answers

    def post(self, path, name):
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="inputFile"; filename="{name}"\r\n\r\n'
        body = head.encode() + Path(path).read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        if self.key:
            headers["x-api-key"] = self.key
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + "/", body, headers), timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def run(self, program, *arguments):
        """Runs one of the programs as its user would, with the API key if the stack has one."""
        environment = dict(os.environ, MUSTER_API_KEY=self.key) if self.key else None
        return subprocess.run([self.programs / program, *map(str, arguments)], check=True, text=True, capture_output=True,
                              stdin=subprocess.DEVNULL, cwd=ROOT, env=environment, timeout=60).stdout


def enrol(programs, people, gallery):
    """Makes a gallery. `people` has the photos of each name."""
    folder = gallery.parent / "people"
    for name, paths in people.items():
        (folder / name).mkdir(parents=True)
        for path in paths:
            (folder / name / path.name).symlink_to(path.resolve())
    subprocess.run([Path(programs) / "worker", "enrol", "--photos", folder, "--gallery", gallery, "--models",
                    ROOT / ".local" / "models" / "facenet128", "--engine", "native"],
                   check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
