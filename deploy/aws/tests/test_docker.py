"""The files of docker/ without Docker: the compose file and localcloud's configuration beside it name what is there. The layer of the
Dockerfile with the compiled dependencies is built from manifests and sources without content."""

import json
import re
import subprocess

import boto3
import pytest
import requests
import yaml
from conftest import REGION, REPOSITORY, free_port, until

DOCKER = REPOSITORY / "docker"
# The programs that read the environment of a service: localcloud's instances inherit it.
PROGRAMS = {"localcloud": (["localcloud"], ["worker", "serve"]), "front": (["front"],), "scaler": (["scaler"],), "gateway": (["gateway"],),
            "worker-native": (["worker", "serve"],), "worker-torch": (["worker", "serve"],), "grade": (["loadgen", "grade"],)}


@pytest.fixture(scope="module")
def dockerfile():
    return (DOCKER / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]


def filled(text, **environment):
    """Fills in a compose file's variables: by the environment, or else by their defaults."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: environment.get(found[1], found[2]), text)


def known(programs, commands):
    """Returns the settings that one of the commands has in its help."""
    texts = [subprocess.run([programs / program, *arguments, "--help"], text=True, capture_output=True, check=True).stdout
             for program, *arguments in commands]
    return set(re.findall(r"\b(?:MUSTER|LOCALCLOUD)_[A-Z0-9_]+", "".join(texts)))


def settings(names):
    return {name for name in names if name.startswith(("MUSTER_", "LOCALCLOUD_"))}


@pytest.mark.parametrize("engine", ["native", "torch"])
def test_each_image_of_the_compose_file_is_a_stage(services, dockerfile, engine):
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.MULTILINE))
    arguments = set(re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE))
    built = {name: service["build"] for name, service in services.items() if "build" in service}
    assert set(built) == set(services) - {"redis"}
    for name, build in built.items():
        assert filled(build["target"], ENGINE=engine) in stages, name
        assert set(build["args"]) <= arguments, name
        assert (DOCKER / build["context"] / build["dockerfile"]).exists(), name


def test_services_wait_for_others_that_say_when_they_are_healthy(services, dockerfile):
    assert re.search(r"^FROM scratch AS runtime\n(?:[^\n]+\n)*HEALTHCHECK ", dockerfile, re.MULTILINE)
    for name, service in services.items():
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"} and ("build" in services[other] or "healthcheck" in services[other]), name


def test_settings_of_the_compose_file_exist(programs, services):
    assert set(PROGRAMS) == set(services) - {"redis"}
    found = {name: settings(service["environment"]) for name, service in services.items() if name in PROGRAMS}
    assert sum(map(len, found.values())) > 30
    for name, commands in PROGRAMS.items():
        assert found[name] - known(programs, commands) == set(), name
    options = {word for word in services["grade"]["entrypoint"] if word.startswith("--")}
    help_text = subprocess.run([programs / "loadgen", "grade", "--help"], text=True, capture_output=True, check=True).stdout
    assert options and all(re.search(rf"^ .*{option}\b", help_text, re.MULTILINE) for option in options)


def test_settings_of_the_images_exist(programs, dockerfile):
    found = {name for lines in re.findall(r"^ENV (.*(?:\\\n.*)*)", dockerfile, re.MULTILINE) for name in re.findall(r"(\w+)=", lines)}
    assert len(settings(found)) > 8
    assert settings(found) - known(programs, [command for commands in PROGRAMS.values() for command in commands]) == set()


def test_localcloud_starts_with_the_compose_files_configuration(programs, services, tmp_path):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {name: filled(value) for name, value in services["localcloud"]["environment"].items() if name.startswith("LOCALCLOUD_")}
    environment |= {"LOCALCLOUD_CONFIG": str(DOCKER / "cloud.toml"), "LOCALCLOUD_LISTEN": f"127.0.0.1:{port}",
                    "LOCALCLOUD_DATA": str(tmp_path / "data")}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([programs / "localcloud"], env=environment, stdout=log, stderr=log)
    try:
        def answers():
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                return requests.get(f"{url}/healthz", timeout=1).ok
            except requests.RequestException:
                return False

        until(answers, what="localcloud")
        ec2 = boto3.client("ec2", endpoint_url=url, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test")
        images = [image["ImageId"] for image in ec2.describe_images()["Images"]]
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert images == [services["scaler"]["environment"]["MUSTER_WORKER_IMAGE"]]


def test_settings_of_localclouds_instances_exist(programs):
    section = (DOCKER / "cloud.toml").read_text().partition("[image.env]")[2]
    found = settings(re.findall(r"^(\w+) = ", section, re.MULTILINE))
    assert len(found) > 3 and found - known(programs, [["worker", "serve"]]) == set()


def test_photos_and_weights_do_not_reach_the_build():
    assert {".git", ".local", "target"} <= set((DOCKER / "Dockerfile.dockerignore").read_text().split())


def targets(folder):
    """Returns what cargo finds by itself in a workspace, but for tests and examples: a build of programs does not ask for them."""
    done = subprocess.run(["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"], cwd=folder, text=True,
                          capture_output=True, check=True)
    return {(package["name"], *target["kind"], target["name"]) for package in json.loads(done.stdout)["packages"]
            for target in package["targets"] if not {"test", "example"} & set(target["kind"])}


def test_the_skeleton_has_every_target(tmp_path):
    """cargo refuses a manifest that names a target without a source."""
    dockerfile = (REPOSITORY / "docker" / "Dockerfile").read_text()
    lines = re.search(r"^FROM builder AS skeleton\n.*?^RUN (.*?[^\\])\n\n", dockerfile, re.MULTILINE | re.DOTALL)[1]
    sources, skeleton = tmp_path / "sources", tmp_path / "skeleton"
    files = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=REPOSITORY, text=True,
                           capture_output=True, check=True).stdout.splitlines()
    for file in files:
        if (REPOSITORY / file).exists():
            (sources / file).parent.mkdir(parents=True, exist_ok=True)
            keep = file.endswith((".toml", ".lock"))
            (sources / file).write_bytes((REPOSITORY / file).read_bytes() if keep else b"")
    subprocess.run(["sh", "-ec", lines.replace("\\\n", "").replace("/skeleton", str(skeleton))], cwd=sources, check=True)
    assert targets(skeleton) == targets(REPOSITORY)
