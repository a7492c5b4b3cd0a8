"""make demo-video: clips go into a bucket of the local cloud, and names come out of another."""

import argparse
import csv
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import deploy, functions, policies, sheet
from .cloud import LocalCloud

ROOT = Path(__file__).resolve().parents[2]
SPLITTING, RECOGNITION = "video-splitting", "face-recognition"
# The limits of the graders that exist: seconds from the first upload to the last result, milliseconds of the functions'
# mean durations, and functions at once.
WALL_LIMIT_S, SPLITTING_LIMIT_MS, RECOGNITION_LIMIT_MS, LEAST_CONCURRENCY = 300, 2_000, 10_000, 3
# Results are looked for so often.
POLL_S = 0.1


def main():
    arguments = parse_arguments()
    # A folder of its own, since it is removed first and MUSTER_WORK may have the files of a stack.
    work = Path(os.environ.get("MUSTER_WORK", ROOT / "target")) / "demo-video"
    if work.exists():
        shutil.rmtree(work)
    work.mkdir(parents=True)
    programs = Path(arguments.programs).resolve()
    say(f"making {arguments.clips} clips of the sample photos")
    clips = make_clips(programs, work, arguments)
    say("enrolling the sample photos")
    gallery = work / "gallery.safetensors"
    run([programs / "worker", "enrol", "--engine", "native", "--photos", ROOT / ".local/photos/train", "--gallery", gallery,
         "--models", ROOT / ".local/models/facenet128"])
    package = work / "functions.zip"
    say("packing the functions")
    run([ROOT / "scripts" / "package-lambda", "--programs", programs, "--gallery", gallery, "--out", package,
         "--system-ffmpeg", "--any-glibc", "--fast"])
    with LocalCloud(programs / "localcloud", work / "cloud") as cloud:
        say(f"deploying the functions to {cloud.url} with boto3")
        deploy.deploy(cloud.session(), prefix=arguments.prefix, package=package, mode="frame")
        run_demo = Demo(cloud, arguments.prefix, clips)
        cold = run_demo.upload_and_watch("all at once, cold", list(clips), show=True)
        frames = run_demo.frames()
        warm = run_demo.upload_and_watch("one after another, warm", list(clips)[:arguments.warm], together=False)
        report = run_demo.report(cold, warm)
        say("a timeline, a stream, and damaged clips, for the functions' policies")
        policies.exercise(cloud, arguments.prefix, package, list(clips)[0], work)
    report["policies"] = policies.faults(cloud.record)
    checks = judge(report, arguments.least_concurrency)
    report["passed"] = all(passed for _, passed, _ in checks)
    (work / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    sheet.write(work / "report.html", report, checks, frames, cold.names, clips)
    show_verdict(report, checks, work)
    return 0 if report["passed"] else 1


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/demo-video", description=__doc__)
    parser.add_argument("--programs", required=True, metavar="DIR", help="folder of Muster's programs")
    parser.add_argument("--clips", type=int, default=int(os.environ.get("CLIPS", 100)), metavar="N",
                        help="clips that are uploaded at once (CLIPS=100)")
    parser.add_argument("--warm", type=int, default=10, metavar="N", help="of these, clips that are uploaded once more, one after another")
    parser.add_argument("--seconds", type=float, default=2, metavar="S", help="length of a clip")
    parser.add_argument("--prefix", default="muster", help="prefix of the buckets' names")
    parser.add_argument("--least-concurrency", type=int, default=LEAST_CONCURRENCY, metavar="N",
                        help="functions that have to run at once")
    return parser.parse_args()


def make_clips(programs, work, arguments):
    """Returns the name of the person by the clip's path."""
    folder = work / "clips"
    run([programs / "loadgen", "clips", "--photos", ROOT / ".local/photos/val", "--out", folder, "--count", arguments.clips,
         "--seconds", arguments.seconds])
    with open(folder / "clips.csv", newline="") as names:
        return {folder / f"{row['Image']}.mp4": row["Results"] for row in csv.DictReader(names)}


class Upload:
    """What one upload of clips brought: times in seconds since the first upload."""

    def __init__(self):
        self.uploaded, self.results, self.names = {}, {}, {}
        self.wall = 0.0

    def latencies(self):
        return [self.results[key] - self.uploaded[key] for key in self.results]


class Demo:
    def __init__(self, cloud, prefix, clips):
        self.s3 = cloud.client("s3")
        self.watched = functions.Watched(cloud, [SPLITTING, RECOGNITION])
        self.buckets = {part: f"{prefix}-{part}" for part in ("input", "stage-1", "output")}
        self.clips = clips

    def upload_and_watch(self, title, paths, together=True, show=False):
        """Uploads the clips and waits for their results, at most WALL_LIMIT_S."""
        self.empty_buckets()
        say(f"{len(paths)} clips, {title}")
        upload = Upload()
        started = time.monotonic()
        if together:
            sender = threading.Thread(target=self.send_all, args=(paths, upload, started))
            sender.start()
            self.wait(paths, upload, started, show)
            sender.join()
        else:
            for number, path in enumerate(paths, 1):
                self.send(path, upload, started)
                self.wait(paths[:number], upload, started, False)
        upload.wall = max(upload.results.values(), default=0.0)
        return upload

    def send_all(self, paths, upload, started):
        with ThreadPoolExecutor(16) as pool:
            for _ in pool.map(lambda path: self.send(path, upload, started), paths):
                pass

    def send(self, path, upload, started):
        upload.uploaded[path.stem] = time.monotonic() - started
        self.s3.put_object(Bucket=self.buckets["input"], Key=path.name, Body=path.read_bytes())

    def wait(self, paths, upload, started, show):
        wanted = {path.stem for path in paths}
        next_line = 0.0
        if show:
            print(functions.HEADER)
        while time.monotonic() - started < WALL_LIMIT_S:
            keys = self.keys("output")
            now = time.monotonic() - started
            for key in keys:
                upload.results.setdefault(Path(key).stem, now)
            done = wanted <= upload.results.keys()
            if show and (now >= next_line or done):
                next_line = math.floor(now) + 1
                counts = [len(upload.uploaded), len(self.keys("stage-1")), len(keys)]
                print(functions.line(now, counts, self.watched.running()), flush=True)
            if done:
                break
            time.sleep(POLL_S)
        for stem in wanted & upload.results.keys() - upload.names.keys():
            body = self.s3.get_object(Bucket=self.buckets["output"], Key=f"{stem}.txt")["Body"]
            upload.names[stem] = body.read().decode()
        if show:
            self.watched.wait_until_idle()
            now = time.monotonic() - started
            print(functions.line(now, [len(upload.uploaded), len(self.keys("stage-1")), len(self.keys("output"))],
                                 self.watched.running()), flush=True)

    def keys(self, part):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.buckets[part])
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def empty_buckets(self):
        for part in self.buckets:
            for key in self.keys(part):
                self.s3.delete_object(Bucket=self.buckets[part], Key=key)

    def frames(self):
        """Returns each frame in the stage bucket as JPEG, by the clip's stem."""
        read = lambda key: self.s3.get_object(Bucket=self.buckets["stage-1"], Key=key)["Body"].read()
        return {Path(key).stem: read(key) for key in sorted(self.keys("stage-1"))}

    def report(self, cold, warm):
        wrong = sorted(path.stem for path, name in self.clips.items() if cold.names.get(path.stem, name) != name)
        missing = sorted(path.stem for path in self.clips if path.stem not in cold.names)
        figures = self.watched.figures()
        return {
            "clips": len(self.clips),
            "right": len(self.clips) - len(wrong) - len(missing),
            "wrong": len(wrong),
            "missing": len(missing),
            "wrong_clips": wrong,
            "missing_clips": missing,
            "wall_s": round(cold.wall, 3),
            "splitting_ms": figures[SPLITTING]["mean_ms"],
            "recognition_ms": figures[RECOGNITION]["mean_ms"],
            "concurrency_max": max(of_one["most_at_once"] for of_one in figures.values()),
            "functions": figures,
            "upload_to_result_s": {"cold": summary(cold.latencies()), "warm": summary(warm.latencies())},
        }


def judge(report, least_concurrency):
    """Returns (what is demanded, whether it holds, what was measured)."""
    splitting, recognition, most = report["splitting_ms"], report["recognition_ms"], report["concurrency_max"]
    return [
        ("all names are right", report["right"] == report["clips"], f"{report['right']} of {report['clips']}"),
        (f"all results within {WALL_LIMIT_S} s", report["missing"] == 0, f"{report['wall_s']:.1f} s"),
        (f"splitting takes less than {SPLITTING_LIMIT_MS} ms on average", splitting < SPLITTING_LIMIT_MS, f"{splitting:.0f} ms"),
        (f"recognition takes less than {RECOGNITION_LIMIT_MS} ms on average", recognition < RECOGNITION_LIMIT_MS,
         f"{recognition:.0f} ms"),
        (f"at least {least_concurrency} functions run at once", most >= least_concurrency, str(most)),
        ("the functions' policies allow all calls, and nothing else", not report["policies"],
         "; ".join(report["policies"]) or "none denied"),
    ]


def summary(seconds):
    """Mean and 95th percentile (nearest rank), in seconds."""
    if not seconds:
        return {"mean": None, "p95": None}
    ordered = sorted(seconds)
    return {"mean": round(statistics.mean(ordered), 3), "p95": round(ordered[math.ceil(0.95 * len(ordered)) - 1], 3)}


def show_verdict(report, checks, work):
    print()
    for demand, passed, measured in checks:
        print(f"  {'ok  ' if passed else 'FAIL'}  {demand}: {measured}")
    for state, times in report["upload_to_result_s"].items():
        if times["mean"] is not None:
            print(f"        from upload to result, {state}: mean {times['mean']:.2f} s, p95 {times['p95']:.2f} s")
    print(f"\n{'PASS' if report['passed'] else 'FAIL'}: {report['right']} of {report['clips']} clips right in {report['wall_s']:.1f} s")
    print(f"  {work / 'report.json'}\n  {work / 'report.html'}")


def run(command):
    done = subprocess.run([str(part) for part in command], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout.strip()}")
    return done.stdout


def say(text):
    print(f"muster: {text}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RuntimeError as error:
        sys.exit(f"muster: {error}")
