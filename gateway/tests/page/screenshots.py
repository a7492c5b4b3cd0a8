"""Takes the pictures of the page for docs/img: under load, with a recognized photo. See `make screenshots`.

The sample photos must not be passed on, so the photo is shown as a mosaic. Everything else is as users see it.
"""

import argparse
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from conftest import is_live, recognize, sample, until
from stack import ROOT, Stack

FOLDER = ROOT / "docs" / "img"
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
    arguments = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.browser, args=["--no-sandbox"])
        # All workers start for each burst, on any machine, and the timeline shows them come and go.
        stack = Stack(arguments.programs, work, POLICY="step", SETTLE="1s")
        try:
            for name, scheme, width in PICTURES:
                take(browser, stack, name, scheme, width)
        finally:
            stack.stop()
            browser.close()


def take(browser, stack, name, scheme, width):
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
    file = FOLDER / f"{name}.png"
    page.screenshot(path=file, full_page=True)
    answers()
    page.context.close()
    size = file.stat().st_size
    print(f"{file.relative_to(ROOT)}: {size // 1000} kB")
    assert size < LARGEST, f"{file} is larger than {LARGEST} bytes"


if __name__ == "__main__":
    main()
