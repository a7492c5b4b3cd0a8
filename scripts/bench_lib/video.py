"""Frames a second a core for decoding a clip, finding all faces of each frame and naming them: `worker video`, with the native
engine, beside OpenCV's VideoCapture with facenet-pytorch on the same clips.

usage: video.py WORKER LOADGEN [REFERENCE_PYTHON]

All of them run on the same core, in turns. The worker's times are those of its processes from start to end, with FFmpeg's and
with loading the model. The reference is loaded and warm before its clock starts.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from bench_lib.load import processor

OUT = Path("target/bench/video")
REPORT = Path("target/bench/video.json")
WEIGHTS = Path(".local/models/facenet128/embedder.safetensors")
GALLERY = OUT / "gallery.safetensors"
ROUNDS = int(os.environ.get("BENCH_CLIP_ROUNDS", "5"))
# Seconds of each size, so that all take about as long.
SIZES = {"640x360": 4, "1280x720": 2, "1920x1080": 1}
PRECISIONS = ("int8", "fp32")
PEOPLE = 5


def main(worker, loadgen, reference_python=None):
    core = max(os.sched_getaffinity(0))
    prepare(worker, loadgen)
    reference = Reference(reference_python, core) if reference_python else None
    if reference:
        # Warms up.
        reference.measure(OUT / next(iter(SIZES)) / "test_00.mp4")
    sizes = {size: measure(size, worker, reference, core) for size in SIZES}
    print(f"processor: {processor()}, one core; {ROUNDS} rounds; medians\n")
    table(sizes)
    REPORT.write_text(json.dumps({"processor": processor(), "rounds": ROUNDS, "sizes": sizes}, indent=2) + "\n")
    print(f"\nwritten to {REPORT}")


def prepare(worker, loadgen):
    """Makes clips of one person each, who moves through the picture, and the gallery of the sample photos."""
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    for size, seconds in SIZES.items():
        run(loadgen, "clips", "--photos", ".local/photos/val", "--out", str(OUT / size), "--count", str(PEOPLE),
            "--seconds", str(seconds), "--size", size)
    run(worker, "enrol", "--engine", "native", "--photos", ".local/photos/train", "--gallery", str(GALLERY))


def measure(size, worker, reference, core):
    """Returns for each subject the figures of all rounds; each round is about another person."""
    truth = json.loads((OUT / size / "clips.json").read_text())
    subjects = {precision: [] for precision in PRECISIONS} | ({"reference": []} if reference else {})
    for number in range(ROUNDS):
        clip = truth[number % len(truth)]
        name = clip["shots"][0]["people"][0]
        file = OUT / size / clip["clip"]
        if reference:
            subjects["reference"].append(reference.measure(file))
        for precision in PRECISIONS:
            subjects[precision].append(watch(worker, file, name, precision, core))
        print(f"bench: clips of {size}, round {number + 1} of {ROUNDS}", flush=True)
    return {subject: summary(rounds, subjects.get("reference", [])) for subject, rounds in subjects.items()}


def watch(worker, clip, name, precision, core):
    """Runs `worker video` on the core, for each frame of the clip."""
    timeline = OUT / "timeline.json"
    start = time.perf_counter()
    child = subprocess.Popen(
        [worker, "video", str(clip), "--fps", "1000", "--engine", "native", "--precision", precision,
         "--gallery", str(GALLERY), "--json", str(timeline)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=lambda: os.sched_setaffinity(0, {core}))
    errors = child.stderr.read()
    # With the time of its children.
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"worker video failed: {errors.decode(errors='replace')}")
    seen = json.loads(timeline.read_text())
    sightings = [sighting for track in seen["tracks"] for sighting in track["sightings"]]
    return {"frames": seen["frames"], "faces": len(sightings), "wall_s": wall,
            "processor_s": usage.ru_utime + usage.ru_stime,
            "right": sum(sighting["name"] == name for sighting in sightings)}


def run(*command):
    if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode != 0:
        sys.exit(f"{command[0]} {command[1]} failed; see its error above")


class Reference:
    def __init__(self, python, core):
        self.process = subprocess.Popen(
            [python, "-B", "-m", "bench_lib.reference", str(WEIGHTS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=os.environ | {"OPENCV_FFMPEG_CAPTURE_OPTIONS": "threads;1"},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}))
        self.reply()

    def measure(self, clip):
        print(f"clip {clip}", file=self.process.stdin, flush=True)
        return json.loads(self.reply())

    def reply(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("the reference ended; see its error above")
        return line


def summary(rounds, reference):
    """Medians of frames a second, by processor time and by the clock, and of the ratios of each round."""
    found = {key: sum(it[key] for it in rounds) for key in ("frames", "faces", "right") if key in rounds[0]}
    for kind in ("processor", "wall"):
        rates = [rate(it, kind) for it in rounds]
        found[f"frames_per_{kind}_s"] = median(rates)
        if reference:
            found[f"{kind}_ratio"] = median(ours / rate(theirs, kind) for ours, theirs in zip(rates, reference))
    return found


def rate(figures, kind):
    return figures["frames"] / figures[f"{kind}_s"]


def table(sizes):
    print(f"{'':<26} {'frames/s of processor time':>27} {'frames/s by the clock':>22} {'ratios':>14}"
          f" {'faces in frames':>17} {'right':>7}")
    for size, subjects in sizes.items():
        for subject, it in subjects.items():
            ratios = f"{it['processor_ratio']:.1f}, {it['wall_ratio']:.1f}" if "wall_ratio" in it else "-"
            faces = f"{it['faces']} in {it['frames']}"
            print(f"{size + ', ' + subject:<26} {it['frames_per_processor_s']:>27.1f} {it['frames_per_wall_s']:>22.1f}"
                  f" {ratios:>14} {faces:>17} {it.get('right', '-'):>7}")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
