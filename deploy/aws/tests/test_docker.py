"""The layer of docker/Dockerfile with the compiled dependencies is built from manifests and sources without content."""

import json
import re
import subprocess

from conftest import REPOSITORY


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
