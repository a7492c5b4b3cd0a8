"""Load on a whole stack that scripts/stack has started, beside what S0 promises.

S0 is the system that Muster is compared with. Its promise: 100 requests a second, 0.96 s a request on average, scale-out
within 5 s, scale-in within 2 s, less than 0.1 % failed.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

OUT = Path("target/bench/load")
# Of the size of the samples; larger and smaller ones are in the run for accuracy.
OF_SAMPLE_SIZE = "crop,dark,bright,noise,quality"
RATE = int(os.environ.get("BENCH_RATE", "100"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "60"))


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    photos("plain", ["--variants", OF_SAMPLE_SIZE])
    photos("all", [])
    print(f"processor: {processor()}; engine: {os.environ['MUSTER_ENGINE']}\n", flush=True)
    closed = run("closed", "plain", ["--num-request", "1000", "--concurrency", "100"])
    rates = {RATE: run("open", "plain", open_loop(RATE))}
    # A machine that is too slow for the rate shows what it can: the throughput of the closed loop, with some to spare.
    possible = closed["answered_per_s"] * 0.8
    if served(rates[RATE]) < 0.999:
        rates[possible] = run("possible", "plain", open_loop(possible))
    accuracy = run("accuracy", "all", ["--num-request", "1000", "--concurrency", "8"])
    table(closed, rates)
    print(f"\naccuracy by variant, {accuracy['requests']['answered']} photos")
    for row in accuracy["by_variant"]:
        print(f"  {row['variant']:<10} {row['right']:>4} of {row['sent']:>4}   unknown {row['unknown']:>3}"
              f"   wrong {row['wrong']:>3}   no face {row['refused']:>3}   failed {row['failed']:>3}")
    print(f"\nreports: {OUT}/*.html, figures: {OUT}/*.json")


def open_loop(rate):
    return ["--rate", f"{rate:.1f}", "--duration", f"{SECONDS}s", "--arrivals", "poisson"]


def photos(name, options):
    """Makes a labeled set if it is not there yet. The seed is fixed, so that all runs send the same photos."""
    if not (OUT / f"{name}.csv").exists():
        loadgen("photos", "--out", str(OUT / name), "--csv", str(OUT / f"{name}.csv"), *options)


def run(name, photos_name, options):
    print(f"\n--- {name}: loadgen run {' '.join(options)}", flush=True)
    figures = OUT / f"{name}.json"
    loadgen("run", "--url", os.environ["MUSTER_URL"], "--scaler", os.environ["MUSTER_SCALER"],
            "--image-folder", str(OUT / photos_name), "--prediction-file", str(OUT / f"{photos_name}.csv"),
            "--json", str(figures), "--html", str(OUT / f"{name}.html"), *options)
    return json.loads(figures.read_text())


def loadgen(*arguments):
    """1 is the status of a run with names that are not right; 2 is an error."""
    program = Path(os.environ["MUSTER_BIN"]) / "loadgen"
    if subprocess.run([program, *arguments], check=False).returncode not in (0, 1):
        sys.exit(1)


def served(figures):
    requests = figures["requests"]
    return requests["answered"] / max(requests["due"], 1)


def table(closed, rates):
    runs = {"1,000, 100 at once": closed}
    runs |= {f"{rate:.0f}/s for {SECONDS} s": figures for rate, figures in rates.items()}
    rows = [
        ("requests a second", "100", lambda it: f"{it['answered_per_s']:.1f}"),
        ("mean latency, s", "0.96", lambda it: f"{it['latency_ms']['mean'] / 1000:.2f}"),
        ("99th percentile, s", "-", lambda it: seconds((it["latency_ms"]["p99"] or 0) / 1000)),
        ("scale-out, s: first worker", "under 5", lambda it: seconds(it["fleet"]["first_worker_s"])),
        ("  the most workers", "under 5", lambda it: f"{seconds(it['fleet']['workers_max_s'])}"
                                                     f" ({it['fleet']['workers_max']})"),
        ("scale-in, s", "under 2", lambda it: seconds(it["fleet"]["scale_in_s"])),
        ("failed, %", "under 0.1", lambda it: f"{100 * (1 - served(it)):.2f}"),
        ("right names, %", "-", lambda it: f"{100 * it['names']['right'] / it['requests']['answered']:.1f}"),
    ]
    print(f"\n{'':<28} {'S0 promises':>12} " + " ".join(f"{name:>20}" for name in runs))
    for name, promise, value in rows:
        print(f"{name:<28} {promise:>12} " + " ".join(f"{shown(value, it):>20}" for it in runs.values()))
    if served(rates[RATE]) < 0.999:
        print(f"\nThis machine does not serve {RATE} a second: {100 * (1 - served(rates[RATE])):.1f} % of the requests failed "
              f"or were not sent. Its workers, queues, buckets and the load generator share {os.cpu_count()} cores.")


def seconds(value):
    return "-" if not value else f"{value:.2f}"


def shown(value, figures):
    try:
        return value(figures)
    except (KeyError, TypeError, ZeroDivisionError):
        return "-"


def processor():
    values = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    return f"{values.get('model name')} (model {values.get('model')}), {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
