"""Runs deploy/aws against moto's server. Started by scripts/deploy-test.

moto makes what a template says, and nothing runs on its instances. These tests play that part: Machine boots an instance's user
data in a folder, and starts Muster's programs with the settings that it wrote.
"""

import base64
import contextlib
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import boto3
import pytest
import requests
import yaml
from botocore.config import Config

from aws_server import CLIENT

ENVIRONMENT = Path(sys.prefix)
REPOSITORY = Path(__file__).resolve().parents[3]
DEPLOY = REPOSITORY / "deploy" / "aws"
ACCOUNT = "123456789012"
REGION = "us-east-1"
DEBIAN = "136693071363"
IMAGES = [("ami-00000000000000001", "debian-13-amd64-20250101-1", DEBIAN), ("ami-00000000000000002", "debian-13-amd64-20250901-2", DEBIAN),
          ("ami-00000000000000003", "debian-13-amd64-20260101-3", "999999999999")]


def pytest_addoption(parser):
    parser.addoption("--programs", metavar="FOLDER", type=Path, help="Muster's programs")
    parser.addoption("--cli", metavar="PROGRAM", help="the AWS CLI, for example version 2 (default: version 1, in forks of one process)")


def until(condition, seconds=120, what="the condition"):
    """Returns the condition's first value that is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come within {seconds} s")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cloud:
    """moto's server, and a shell's environment in which `aws` and `curl` reach it."""

    def __init__(self, folder, cli=None):
        self.folder = folder
        self.home = folder / "home"
        self.endpoint = f"http://127.0.0.1:{free_port()}"
        self.gateway = folder / "gateway-port"
        self.console = folder / "console"
        amis = [{"ami_id": image, "name": name, "owner_id": owner, "architecture": "x86_64", "state": "available", "public": True,
                 "creation_date": f"2025-0{number}-01T00:00:00.000Z", "root_device_name": "/dev/xvda", "root_device_type": "ebs",
                 "virtualization_type": "hvm", "hypervisor": "xen", "image_type": "machine", "image_location": "debian",
                 "description": "Debian 13", "platform": None, "sriov": "simple", "product_codes": []}
                for number, (image, name, owner) in enumerate(IMAGES, 1)]
        (folder / "amis.json").write_text(json.dumps(amis))
        self.shims = folder / "bin"
        self.shims.mkdir()
        (folder / "aws.py").write_text(CLIENT.format(path=str(folder / "aws")))
        self.cli = cli or f"{sys.executable} -SIE {folder / 'aws.py'}"
        self.reset()
        self.environment = {
            "PATH": f"{self.shims}:{os.environ['PATH']}", "HOME": str(self.home), "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true", "LC_ALL": "C",
            "MUSTER_POLL_SECONDS": "0.1", "MUSTER_READY_SECONDS": "120", "MUSTER_BAKE_SECONDS": "120"}

    def reset(self):
        """Removes what a test has left outside of moto."""
        self.console.write_text("")
        self.gateway.unlink(missing_ok=True)
        shutil.rmtree(self.home, ignore_errors=True)
        # Version 1 of the CLI does not take SQS's endpoint from AWS_ENDPOINT_URL.
        self.shim("aws", f"""
            case "$*" in
                --version | configure*) exec {self.cli} "$@" ;;
                *get-console-output*) cat {self.console}; exit ;;
                # moto does not have these services.
                pricing* | freetier*) echo "An error occurred (AccessDeniedException) when calling it" >&2; exit 255 ;;
                *get-ebs-default-kms-key-id*) echo alias/aws/ebs; exit ;;
                *describe-stacks*Parameters*)
                    # moto gives lists as Python prints them, AWS with commas.
                    text=$({self.cli} --endpoint-url {self.endpoint} "$@") || exit
                    printf '%s\\n' "$text" | sed "/\t\\['/s/[]' []//g"; exit ;;
            esac
            exec {self.cli} --endpoint-url {self.endpoint} "$@" """)
        # The gateway listens at a free port of this machine.
        self.shim("curl", f'exec {shutil.which("curl")} --connect-to ":8000:127.0.0.1:$(cat {self.gateway} 2>/dev/null || echo 1)" "$@"')
        self.shim("openssl", f"""
            [ "$1" != s_client ] || set -- "$@" -connect "127.0.0.1:$(cat {self.gateway} 2>/dev/null || echo 1)"
            exec {shutil.which("openssl")} "$@" """)

    def answer(self, pattern, text, status=0, once=False):
        """Makes `aws` reply to calls of this pattern with a text, or only to the first one."""
        kept = (self.shims / "aws").read_text().split("\n", 1)[1]
        reply = f'printf \'%s\\n\' "{text}" {">&2" if status else ""}; exit {status}'
        if once:
            marker = self.shims / f"answered-{len(kept)}"
            marker.unlink(missing_ok=True)
            reply = f"[ -e {marker} ] || {{ : >{marker}; {reply}; }}"
        self.shim("aws", f'case "$*" in {pattern}) {reply} ;; esac\n{kept}')

    def shim(self, name, text):
        path = self.shims / name
        path.write_text("#!/bin/sh\n" + text.strip() + "\n")
        path.chmod(0o755)

    @contextlib.contextmanager
    def served(self):
        port = self.endpoint.rpartition(":")[2]
        with (self.folder / "moto.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("moto_server.py"), "--host", "127.0.0.1", "--port", port], stdout=log, stderr=log,
                env={**os.environ, "MOTO_AMIS_PATH": str(self.folder / "amis.json")})
            cli = subprocess.Popen([sys.executable, Path(__file__).with_name("aws_server.py"), self.folder / "aws"], stdout=log, stderr=log,
                                   env=self.environment)
        try:
            until(lambda: process.poll() is None and is_open(port), what="moto")
            until((self.folder / "aws").exists, what="the AWS CLI")
            yield self
        finally:
            for child in (process, cli):
                child.terminate()
                child.wait(timeout=30)

    # Making a client of EC2 takes 0.2 s of a processor, and some tests poll.
    @functools.cache
    def client(self, service):
        return boto3.session.Session().client(
            service, region_name=REGION, endpoint_url=self.endpoint, aws_access_key_id="test", aws_secret_access_key="test",
            # moto's threads disturb each other at times.
            config=Config(retries={"mode": "standard", "max_attempts": 4}, s3={"addressing_style": "path"}))

    def run(self, command, *arguments, status=0, **environment):
        """Runs one of the scripts without a terminal. Returns what it printed."""
        done = subprocess.run([DEPLOY / command, *arguments], env={**self.environment, **environment}, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=180)
        assert done.returncode == status, f"{command} {arguments} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        self.out, self.err = done.stdout, done.stderr
        return done.stdout + done.stderr

    def instances(self, *, states=("pending", "running", "stopping", "stopped"), image_id=None, **tags):
        filters = [{"Name": "instance-state-name", "Values": list(states)}]
        filters += [{"Name": "image-id", "Values": [image_id]}] if image_id else []
        filters += [{"Name": f"tag:{key.replace('_', '-')}", "Values": [value]} for key, value in tags.items()]
        found = self.client("ec2").describe_instances(Filters=filters)["Reservations"]
        return [instance for reservation in found for instance in reservation["Instances"]]

    def user_data(self, instance):
        value = self.client("ec2").describe_instance_attribute(InstanceId=instance, Attribute="userData")
        return base64.b64decode(value["UserData"]["Value"]).decode()


def is_open(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), timeout=1):
        return True
    return False


class Machine:
    """An instance whose files lie in a folder, and whose services listen at free ports of this machine."""

    def __init__(self, folder, ports):
        self.folder, self.ports = folder, ports
        self.paths = {"/run/muster": f"{folder}/run", "/etc/muster": f"{folder}/etc/muster", "/usr/local/sbin": f"{folder}/shims"}
        self.processes = {}
        self.started = folder / "started"
        shims = folder / "shims"
        shims.mkdir(parents=True)
        (folder / "etc").mkdir()
        scripts = {
            "ip": "echo '169.254.169.254 via 172.31.0.1 dev ens5 src 127.0.0.1 uid 0'",
            "systemctl": f'echo "$*" >>{self.started}',
            "chgrp": "exit 0",
            # Without the group, which this machine does not have.
            "install": '[ "$4 $5" = "-g muster" ] || exit 1; mode=$3; shift 5; exec /usr/bin/install -d -m $mode "$@"',
            "muster-logs": f'echo "logs $*" >>{self.started}',
        }
        for name, text in scripts.items():
            (shims / name).write_text(f"#!/bin/sh\n{text}\n")
            (shims / name).chmod(0o755)

    def boot(self, user_data):
        """Runs the boot commands as cloud-init does. Returns what they printed."""
        commands = yaml.safe_load(user_data)["bootcmd"]
        script = "#!/bin/sh\n" + "\n".join(commands)
        for path, to in self.paths.items():
            script = script.replace(path, to)
        (self.folder / "boot").write_text(script)
        done = subprocess.run(["sh", self.folder / "boot"], text=True, capture_output=True,
                              env={"PATH": f"{self.folder}/shims:{os.environ['PATH']}"})
        assert done.returncode == 0, done.stderr + script
        return done.stdout

    def written(self, user_data):
        """Returns user data that this machine wrote, with the paths as they are on an instance."""
        for path, here in self.paths.items():
            user_data = user_data.replace(here, path)
        return user_data

    def file(self, name):
        return self.folder / "run" / name

    def settings(self):
        """Returns the settings as the services' units read them, with the ports of this machine."""
        lines = self.file("settings").read_text().splitlines()
        settings = dict(line.split("=", 1) for line in lines if line)
        for port, local in self.ports.items():
            settings = {key: value.replace(f":{port}", f":{local}") for key, value in settings.items()}
        return settings

    def start(self, name, *command, **more):
        environment = {**self.settings(), "PATH": os.environ["PATH"], **more}
        with (self.folder / f"{name}.log").open("w") as log:
            self.processes[name] = subprocess.Popen([str(part) for part in command], env=environment, stdout=log, stderr=log,
                                                    cwd=self.folder)

    def log(self):
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in self.folder.glob("*.log"))

    def stop(self):
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(timeout=30)


@contextlib.contextmanager
def meanwhile(play):
    """Runs `play` in a thread. Its error is raised here at the end."""
    errors = []

    def run():
        try:
            play()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    except BaseException as error:
        raise error from (errors[0] if errors else None)
    thread.join(timeout=120)
    if errors:
        raise errors[0]
    assert not thread.is_alive()


@pytest.fixture(scope="session")
def server(tmp_path_factory, request):
    with Cloud(tmp_path_factory.mktemp("cloud"), request.config.getoption("--cli")).served() as cloud:
        yield cloud


@pytest.fixture
def cloud(server):
    """An empty account."""
    server.reset()
    requests.post(f"{server.endpoint}/moto-api/reset", timeout=30).raise_for_status()
    return server


@pytest.fixture
def machines(tmp_path, request):
    made = []
    ports = {port: free_port() for port in (8000, 8051, 8052)}

    def make(name):
        made.append(Machine(tmp_path / name, ports))
        return made[-1]

    make.ports = ports
    yield make
    for machine in made:
        machine.stop()


@pytest.fixture
def programs(request):
    folder = request.config.getoption("--programs")
    assert folder and (folder / "gateway").exists(), "Muster's programs are missing: cargo build --release --workspace --bins"
    return folder


def release(folder, version="1.2.3"):
    """A release archive, whose bytes do not matter here."""
    path = folder / f"muster-{version}-x86_64-native.tar.zst"
    path.write_bytes(os.urandom(1000))
    return path


@pytest.fixture
def archive(tmp_path):
    return release(tmp_path)


@pytest.fixture
def clone(tmp_path):
    """deploy/aws of a fresh clone, with a scripts/package that notes its runs."""
    shutil.copytree(DEPLOY, tmp_path / "clone" / "deploy" / "aws", ignore=shutil.ignore_patterns("tests"))
    package = tmp_path / "clone" / "scripts" / "package"
    package.parent.mkdir()
    package.write_text("#!/bin/sh\n")
    package.chmod(0o755)
    return tmp_path / "clone"


def missing(message, otherwise):
    """Fails on CI, where a missing tool is a fault of the machine. Elsewhere calls the other function with the message."""
    (pytest.fail if os.environ.get("CI") == "true" else otherwise)(message)
