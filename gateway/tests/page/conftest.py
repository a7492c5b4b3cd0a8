"""A browser and stacks for the tests of the page. Started by scripts/page-test."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from stack import TRAINING, Stack, enrol, photos, wait_for

# Runs in each page before its own scripts: keeps violations of the content security policy, and the extremes of what the
# page showed, since some last only for a moment.
RECORDER = """
window.seen = { violations: [], connection: [], notices: [], running: 0, rate: 0, hacked: false };
document.addEventListener("securitypolicyviolation", (event) =>
  window.seen.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
document.addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
  const add = (list, text) => text && list.at(-1) !== text && list.length < 1000 && list.push(text);
  add(window.seen.connection, document.getElementById("connection-text").textContent);
  for (const notice of document.querySelectorAll("#notices p")) add(window.seen.notices, notice.textContent);
  const running = document.querySelectorAll('.tile:is([data-state="idle"], [data-state="busy"])').length;
  window.seen.running = Math.max(window.seen.running, running);
  const rate = Number.parseFloat(document.getElementById("n-rate").textContent) || 0;
  window.seen.rate = Math.max(window.seen.rate, rate);
}).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true }));
"""


def pytest_addoption(parser):
    parser.addoption("--programs", required=True, help="the folder with Muster's programs")
    parser.addoption("--browser", required=True, help="chromium")


@pytest.fixture(scope="session")
def programs(request):
    return Path(request.config.getoption("--programs")).resolve()


@pytest.fixture(scope="session")
def browser(request):
    # Chromium's sandbox does not start as root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=request.config.getoption("--browser"), args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def stack(programs, tmp_path_factory):
    """A stack without API keys, which knows the people of the sample photos."""
    stack = Stack(programs, tmp_path_factory.mktemp("stack"))
    yield stack
    stack.stop()


LONG_NAME = "Donaudampfschifffahrtsgesellschaftskapitaensmuetze Maximiliane von Hohenlohe-Waldenburg"[:80]
HOSTILE_NAME = "<img src=x onerror=seen.hacked=true>"


@pytest.fixture(scope="session")
def keyed_stack(programs, tmp_path_factory):
    """A stack with API keys, which knows people with a hostile and a long name."""
    folder = tmp_path_factory.mktemp("people")
    samples = sorted(TRAINING.glob("*/*.jpg"))
    people = {HOSTILE_NAME: [it for it in samples if it.parent.name == "elton_john"][:8],
              LONG_NAME: [it for it in samples if it.parent.name == "madonna"][:8]}
    enrol(programs, people, folder / "gallery.safetensors")
    stack = Stack(programs, tmp_path_factory.mktemp("stack"), KEYS="1", GALLERY=str(folder / "gallery.safetensors"))
    yield stack
    stack.stop()


@pytest.fixture
def visit(browser):
    """Opens a page. At the end of the test nothing may have violated the policy, and no script may have failed."""
    contexts = []
    problems = []

    def visit(url, width=1280, height=900, allowed=(), init="", **settings):
        context = browser.new_context(viewport={"width": width, "height": height}, **settings)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(RECORDER + init)
        page.on("pageerror", lambda error: problems.append(f"script: {error}"))

        def on_console(message):
            if message.type in ("error", "warning") and not any(it in message.text for it in allowed):
                problems.append(f"console: {message.text}")
        page.on("console", on_console)
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        for page in context.pages:
            problems += page.evaluate("window.seen.violations")
        context.close()
    assert problems == []


def sample(person):
    """A photo of a person."""
    return next(path for path, name in photos() if name == person)


def recognize(page, path, name=None):
    """Gives a photo to the page and waits for the answer. Returns the name."""
    file = {"name": name or "photo.jpg", "mimeType": "image/jpeg", "buffer": Path(path).read_bytes()}
    page.set_input_files("#file", files=[file])
    page.wait_for_selector('#answer:is([data-state="name"], [data-state="error"])')
    assert page.get_attribute("#answer", "data-state") == "name", page.inner_text("#answer")
    return page.inner_text("#result-name")


# What Chromium says of each request without a valid key.
REFUSED = ["status of 401", "status of 403"]


def give_key(page, key):
    page.fill("#key-input", key)
    page.keyboard.press("Enter")


def is_live(page):
    page.wait_for_selector('#connection[data-state="live"]')


def until(page, script, argument=None, seconds=20):
    """Waits until a script returns something true. Playwright's `wait_for_function` needs `eval`, which the policy forbids."""
    return wait_for(script, lambda: page.evaluate(script, argument), seconds)
