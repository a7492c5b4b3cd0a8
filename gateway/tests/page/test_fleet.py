"""The fleet on the page: workers that come and go, the timeline, rare states, and restarts of the services."""

import json
import os
import re
import signal
import urllib.request

import pytest

from conftest import REFUSED, give_key, is_live, recognize, sample, until
from stack import wait_for

NONE_UP = """() => document.querySelectorAll(
  '.tile:is([data-state="idle"], [data-state="busy"], [data-state="booting"], [data-state="pending"])').length === 0"""
LOST = ["net::ERR_", "status of 503"]


def seen(page, what):
    return page.evaluate(f"window.seen.{what}")


def test_sees_fifteen_workers_come_and_go(visit, stack):
    page = visit(stack.url)
    is_live(page)
    answers = stack.send(100)
    until(page, "Number(document.getElementById('n-unanswered').textContent) > 0")
    until(page, "window.seen.rate > 0")
    until(page, "window.seen.running === 15")
    assert {status for status, _ in answers()} == {200}
    until(page, NONE_UP)
    until(page, "document.getElementById('n-queue').textContent === '0'")
    until(page, "document.getElementById('headline').textContent.startsWith('No worker runs')")
    until(page, "document.getElementById('counts').textContent.includes('15 stopped')")
    assert re.search(r"\d.* · .*\d", page.inner_text("#n-latency"))
    assert float(page.inner_text("#n-cost").removeprefix("$")) > 0
    assert page.inner_text("#n-hour") == "$0.0000"

    # Back to the decision with the highest demand: it is still known, with its reason and what was rejected.
    earlier = page.locator("#earlier button")
    reasons = earlier.all_inner_texts()
    assert any("start" in it or "launch" in it for it in reasons), reasons
    number = next(index for index, it in enumerate(reasons) if "unanswered" in it)
    earlier.nth(number).click()
    assert "ago" in page.inner_text("#decision-when")
    assert page.inner_text("#decision") in reasons[number]
    assert int(page.inner_text("#l-wanted")) > 0
    assert re.search(r"unanswered, \d+ workers wanted", page.get_attribute("#scrub", "aria-valuetext"))
    page.click("#live")
    assert page.inner_text("#decision-when") == "Now"
    assert page.inner_text("#l-wanted") == "0"


def test_the_timeline_is_scrubbed_by_mouse_and_touch(visit, stack):
    page = visit(stack.url, has_touch=True)
    is_live(page)
    chart = page.locator("#chart")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 60, steps=4)
    page.mouse.up()
    assert page.locator("#chart .cursor").count() == 1
    assert "ago" in page.inner_text("#moment")
    assert 200 < int(page.input_value("#scrub")) < 400
    page.click("#live")
    assert page.locator("#chart .cursor").count() == 0
    box = chart.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 0.3, box["y"] + 60)
    assert 100 < int(page.input_value("#scrub")) < 300


def test_survives_a_kill_of_the_gateway(visit, stack):
    page = visit(stack.url, allowed=LOST)
    is_live(page)
    stack.kill("gateway")
    until(page, "window.seen.connection.some((it) => it.startsWith('Stale'))")
    until(page, "window.seen.notices.some((it) => it.startsWith('Stale: the gateway cannot be reached'))")
    is_live(page)
    assert recognize(page, sample("madonna")) == "madonna"


def test_survives_a_kill_of_the_scaler(visit, stack):
    page = visit(stack.url, allowed=LOST)
    is_live(page)
    stack.kill("scaler")
    until(page, "window.seen.connection.includes('Stale, scaler away')")
    until(page, "window.seen.notices.some((it) => it.includes('no connection to the scaler'))")
    is_live(page)
    assert recognize(page, sample("madonna")) == "madonna"
    until(page, "document.querySelectorAll('.tile').length > 0")


def test_survives_a_kill_of_front(visit, stack):
    page = visit(stack.url, allowed=LOST)
    is_live(page)
    # A stopped process cannot start again at once, so that the page has the time to tell.
    os.kill(stack.service("front"), signal.SIGSTOP)
    until(page, "window.seen.notices.some((it) => it.startsWith('Front cannot be reached'))")
    stack.kill("front")
    until(page, "![...document.querySelectorAll('#notices p')].some((it) => it.textContent.startsWith('Front cannot'))")
    assert wait_until_named(page) == "madonna"


def wait_until_named(page):
    def named():
        page.set_input_files("#file", files=[{"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": sample("madonna").read_bytes()}])
        page.wait_for_selector('#answer:is([data-state="name"], [data-state="error"])')
        return page.inner_text("#result-name")
    return wait_for("a name", named)


def test_says_stale_when_the_gateway_hangs(visit, stack):
    page = visit(stack.url, allowed=LOST)
    is_live(page)
    gateway = stack.service("gateway")
    os.kill(gateway, signal.SIGSTOP)
    try:
        page.wait_for_selector('#connection[data-state="stale"]')
        assert "Stale: no news from the gateway" in page.inner_text("#notices")
    finally:
        os.kill(gateway, signal.SIGCONT)
    is_live(page)


@pytest.fixture(scope="session")
def status(stack):
    """A status as the gateway sends it."""
    with urllib.request.urlopen(stack.url + "/v1/watch", timeout=20) as stream:
        for line in stream:
            if line.startswith(b"event: status"):
                return json.loads(next(stream).removeprefix(b"data: "))


def shown(visit, stack, *events):
    """A page whose event stream is these events, then ends."""
    page = visit("about:blank", allowed=LOST)
    stream = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in (("scaler", {"connected": True, "message": None}), *events))
    page.route("**/v1/watch", lambda route: route.fulfill(content_type="text/event-stream", body=stream))
    page.goto(stack.url)
    return page


def fleet_of(status, *instances):
    return "status", dict(status, observation=dict(status["observation"], instances=list(instances)))


def test_says_what_to_do_when_no_worker_exists(visit, stack, status):
    page = shown(visit, stack, fleet_of(dict(status, observation=dict(status["observation"], unanswered="0"))))
    until(page, "document.getElementById('headline').textContent.includes('Drop a photo: the first one starts in about')")
    assert "No worker exists yet" in page.inner_text("#no-workers")


def test_five_hundred_workers_are_grouped(visit, stack, status):
    states = ["BUSY"] * 300 + ["IDLE"] * 50 + ["BOOTING"] * 50 + ["STOPPED"] * 100
    instances = [{"instanceId": f"i-{number:04}", "name": f"app-tier-instance-{number}", "number": number,
                  "state": f"INSTANCE_STATE_{state}", "since": status["at"]} for number, state in enumerate(states, 1)]
    page = shown(visit, stack, fleet_of(status, *instances))
    until(page, "document.querySelectorAll('.marks i').length === 500")
    assert page.locator(".group h4").all_inner_texts() == ["300 busy", "50 idle", "50 booting", "100 stopped"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("change, notice", [
    ({"pausedBy": "<b>Ada</b>"}, "Scaling is paused by <b>Ada</b>"),
    ({"standingBy": "the scaler i-2 leads"}, "On standby: The scaler i-2 leads."),
])
def test_says_when_scaling_is_paused_or_on_standby(visit, stack, status, change, notice):
    page = shown(visit, stack, ("status", {**status, **change}))
    until(page, "(notice) => window.seen.notices.some((it) => it.startsWith(notice))", notice)


def test_an_outdated_worker_says_so(visit, stack, status):
    old = {"instanceId": "i-1", "number": 1, "state": "INSTANCE_STATE_BUSY", "since": status["at"], "outdated": True}
    page = shown(visit, stack, fleet_of(status, old))
    until(page, "document.querySelector('.tile .flag')?.textContent === 'older version'")


def test_shows_what_waits_in_the_queue(visit, keyed_stack):
    page = visit(keyed_stack.url, allowed=REFUSED)
    page.wait_for_selector("#key-input")
    give_key(page, keyed_stack.key)
    is_live(page)
    until(page, NONE_UP)
    keyed_stack.run("scaler", "pause", "--scaler", keyed_stack.scaler)
    try:
        answers = keyed_stack.send(7)
        until(page, "document.getElementById('n-queue').textContent === '7'")
        assert page.inner_text("#n-unanswered") == "7"
    finally:
        keyed_stack.run("scaler", "resume", "--scaler", keyed_stack.scaler)
    assert {status for status, _ in answers()} == {200}
    until(page, "document.getElementById('n-queue').textContent === '0'")


def test_rejected_alternatives_are_listed(visit, stack, status):
    rejected = [{"workers": 3, "reason": "would finish what waits in 23.5 s, later than the target of 2 s"},
                {"workers": 1, "reason": "<b>would never finish</b>"}]
    page = shown(visit, stack, ("status", {**status, "plan": dict(status["plan"], rejected=rejected)}))
    until(page, "document.querySelectorAll('#rejected li').length === 2")
    assert page.inner_text("#rejected-title") == "It rejected"
    assert page.locator("#rejected li").all_inner_texts() == [
        "3 workers would finish what waits in 23.5 s, later than the target of 2 s.",
        "1 worker <b>would never finish</b>.",
    ]


def test_no_title_stands_alone_when_nothing_was_rejected(visit, stack, status):
    page = shown(visit, stack, ("status", {**status, "plan": dict(status["plan"], rejected=[])}))
    until(page, "document.getElementById('decision').textContent !== 'No decision yet.'")
    assert page.is_hidden("#rejected-title")
    assert page.locator("#rejected li").count() == 0


def test_history_is_bounded(visit, stack):
    page = visit(stack.url)
    lengths = page.evaluate("""async () => {
      const { History } = await import("/page/history.js");
      const history = new History();
      const lengths = [];
      for (let number = 0; number < 200000; number += 1) {
        history.add({ at: number * 100, unanswered: number, changed: number % 3 === 0 });
        if (number % 50000 === 49999) lengths.push(history.points.length);
      }
      return lengths;
    }""")
    assert len(lengths) == 4 and max(lengths) <= 4000, lengths


def test_events_are_read_however_they_are_cut(visit, stack):
    page = visit(stack.url)
    read = page.evaluate("""async () => {
      const { EventParser } = await import("/page/watch.js");
      const text = ": hello\\r\\n\\r\\nevent: one\\r\\ndata: a\\r\\ndata: b\\r\\n\\r\\nevent: two\\ndata:c\\n\\ndata: d\\n\\n";
      const results = [];
      for (let size = 1; size <= text.length; size += 1) {
        const events = [];
        const parser = new EventParser((name, data) => events.push([name, data]));
        for (let from = 0; from < text.length; from += size) parser.push(text.slice(from, from + size));
        results.push(JSON.stringify(events));
      }
      return [...new Set(results)];
    }""")
    assert read == ['[["one","a\\nb"],["two","c"],["message","d"]]']
