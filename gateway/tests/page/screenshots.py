"""Takes the pictures for docs/img: the page under load, a decision with its alternatives, and a grade's report.

The sample photos must not be passed on, so the photo is shown as a mosaic. Everything else is as users see it. See
`make screenshots`.
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from conftest import is_live, recognize, sample, until
from stack import ROOT, Stack

LARGEST = 300_000
# Replaces the photo by one of few large pixels, of the same size, so that box and landmarks stay where they are.
MOSAIC = """async () => {
  const photo = document.getElementById("photo");
  const [width, height] = [photo.naturalWidth, photo.naturalHeight];
  const few = document.createElement("canvas");
  [few.width, few.height] = [14, Math.round(14 * height / width)];
  few.getContext("2d").drawImage(photo, 0, 0, few.width, few.height);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(few, 0, 0, width, height);
  photo.src = canvas.toDataURL();
  await photo.decode();
}"""
PICTURES = [("page-light", "light", 1440), ("page-dark", "dark", 1440), ("page-phone", "light", 390)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", required=True)
    parser.add_argument("--browser", required=True)
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "img", help="where the pictures go")
    parser.add_argument("--only", choices=["page", "grade-report"], help="leave the other pictures as they are")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.browser, args=["--no-sandbox"])
        if arguments.only != "grade-report":
            take_pages(browser, arguments)
        if arguments.only != "page":
            take_grade_report(browser, arguments)
        browser.close()


def take_pages(browser, arguments):
    with tempfile.TemporaryDirectory() as work:
        # All workers start for each burst, on any machine, and the timeline shows them come and go.
        stack = Stack(arguments.programs, work, POLICY="step", SETTLE="1s")
        try:
            for name, scheme, width in PICTURES:
                take_page(browser, stack, arguments.folder / f"{name}.png", scheme, width)
        finally:
            stack.stop()
    with tempfile.TemporaryDirectory() as work:
        # `step` weighs no alternatives.
        stack = Stack(arguments.programs, work, POLICY="latency")
        try:
            take_decision(browser, stack, arguments.folder / "page-decision.png")
        finally:
            stack.stop()


def take_grade_report(browser, arguments):
    """A graded run of its own, and its report from top to bottom."""
    with tempfile.TemporaryDirectory() as work:
        settings = {"CLASSROOM": "1", "ENGINE": "native", "PORTS": "free"}
        folders = {"MUSTER_BIN": str(arguments.programs), "MUSTER_WORK": work}
        subprocess.run([ROOT / "scripts" / "stack", "demo"], cwd=ROOT, env={**os.environ, **settings, **folders}, check=True,
                       stdin=subprocess.DEVNULL)
        page = browser.new_context(viewport={"width": 960, "height": 900}, color_scheme="light").new_page()
        page.goto((Path(work) / "report.html").as_uri())
        save(arguments.folder / "grade-report.png", page.screenshot(full_page=True))
        page.context.close()


def save(file, picture):
    file.write_bytes(picture)
    print(f"{file}: {len(picture) // 1000} kB")
    assert len(picture) < LARGEST, f"{file} is larger than {LARGEST} bytes"


def take_page(browser, stack, file, scheme, width):
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    page.goto(stack.url)
    is_live(page)
    # A small burst, a large one, and one that is under way when the picture is taken.
    for count, seconds in [(20, 4), (100, 8)]:
        answers = stack.send(count)
        end = time.monotonic() + seconds
        answers()
        page.wait_for_timeout(max(0.0, 1000 * (end - time.monotonic())))
    recognize(page, sample("elton_john"), "elton.jpg")
    page.evaluate(MOSAIC)
    answers = stack.send(400)
    until(page, "document.querySelectorAll('.tile[data-state=\"busy\"]').length >= 10")
    save(file, page.screenshot(full_page=True))
    answers()
    page.context.close()


def take_decision(browser, stack, file):
    """An earlier decision with the alternatives that it rejected, and its moment on the timeline."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light").new_page()
    page.goto(stack.url)
    is_live(page)
    # In the first burst, the scaler does not know yet how long a photo takes.
    for _ in range(2):
        stack.send(100)()
        page.wait_for_timeout(4000)
    rejected = page.locator("#rejected li")
    while rejected.count() < 2:
        # Fails at the oldest decision, where the button is off.
        page.click("#previous", timeout=5000)
    save(file, page.locator(".fleet-grid").screenshot())
    page.context.close()


if __name__ == "__main__":
    main()
