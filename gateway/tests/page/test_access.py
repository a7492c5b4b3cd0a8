"""Who may see what, and whether everybody can: API keys, hostile names, accessibility, sizes."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from conftest import HOSTILE_NAME, LONG_NAME, REFUSED, give_key, is_live, recognize, sample, until


def test_asks_for_a_key(visit, keyed_stack):
    page = visit(keyed_stack.url, allowed=REFUSED)
    page.wait_for_selector("#key-input:focus")
    assert page.inner_text("#connection-text") == "Key needed"
    give_key(page, "wrong")
    until(page, "document.getElementById('key-error').textContent.includes('the API key is not valid')")
    give_key(page, keyed_stack.key)
    is_live(page)
    assert page.is_hidden("#key")
    assert recognize(page, sample("elton_john")) == HOSTILE_NAME
    assert page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    # It lasts as long as the tab, and can be forgotten.
    page.reload()
    is_live(page)
    page.click("#forget")
    page.wait_for_selector("#key-input")
    assert page.evaluate("sessionStorage.length") == 0


def test_a_key_for_photos_alone_does_not_show_the_fleet(visit, keyed_stack):
    key = keyed_stack.run("gateway", "keys", "--api-keys", keyed_stack.work / "api-keys.toml", "add", "photos", "--role",
                          "recognize").strip()
    page = visit(keyed_stack.url, allowed=REFUSED)
    page.wait_for_selector("#key-input")
    # The gateway reads the file again within a second.
    for _ in range(50):
        give_key(page, key)
        page.wait_for_timeout(100)
        if page.get_attribute("#connection", "data-state") == "forbidden":
            break
    page.wait_for_selector('#connection[data-state="forbidden"]')
    assert "Watching needs a key with the role “operate”" in page.inner_text("#notices")
    assert page.locator(".tile").count() == 0
    # Front reads it at a time of its own.
    photo = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": Path(sample("elton_john")).read_bytes()}
    for _ in range(50):
        if page.request.post(keyed_stack.url, headers={"x-api-key": key}, multipart={"inputFile": photo}).ok:
            break
        page.wait_for_timeout(100)
    assert recognize(page, sample("elton_john")) == HOSTILE_NAME


def test_hostile_names_do_not_execute(visit, keyed_stack):
    page = visit(keyed_stack.url, allowed=REFUSED, width=360, height=740)
    page.wait_for_selector("#key-input")
    give_key(page, keyed_stack.key)
    is_live(page)
    file = "<script>seen.hacked=true<\\script><img src=x onerror=seen.hacked=true>.jpg".replace("\\", "")
    assert recognize(page, sample("elton_john"), file.replace("</", "<")) == HOSTILE_NAME
    assert recognize(page, sample("madonna"), "Süßölgefäß" * 12 + ".jpg") == LONG_NAME
    assert not page.evaluate("window.seen.hacked")
    assert page.locator("#answer img, #answer script").count() == 0
    # A name of 80 letters does not make the page wider than a phone.
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def axe_finds_nothing(page):
    found = Axe().run(page).response
    assert found["testEngine"]["name"] == "axe-core"
    assert [(it["id"], it["impact"], [node["html"] for node in it["nodes"]][:3]) for it in found["violations"]] == []


SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])
WIDTHS = pytest.mark.parametrize("width", [360, 1440])


@WIDTHS
@SCHEMES
def test_axe_finds_nothing_serious(visit, stack, scheme, width):
    page = visit(stack.url, width=width, color_scheme=scheme, reduced_motion="reduce")
    is_live(page)
    recognize(page, sample("elton_john"))
    page.click("#previous")
    axe_finds_nothing(page)


@WIDTHS
@SCHEMES
def test_axe_finds_nothing_serious_in_the_key_form(visit, keyed_stack, scheme, width):
    page = visit(keyed_stack.url, width=width, color_scheme=scheme, reduced_motion="reduce", allowed=REFUSED)
    page.wait_for_selector("#key-input")
    axe_finds_nothing(page)
    give_key(page, "wrong")
    until(page, "document.getElementById('key-error').textContent.includes('the API key is not valid')")
    axe_finds_nothing(page)


@WIDTHS
@SCHEMES
def test_axe_finds_nothing_serious_in_an_error(visit, stack, scheme, width):
    page = visit(stack.url, width=width, color_scheme=scheme, reduced_motion="reduce", allowed=["status of 415", "status of 400"])
    is_live(page)
    page.set_input_files("#file", files=[{"name": "letter.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4"}])
    page.wait_for_selector("#answer-error")
    axe_finds_nothing(page)


@WIDTHS
@SCHEMES
def test_axe_finds_nothing_serious_in_the_camera_dialog(visit, stack, scheme, width):
    no_camera = "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('none', 'NotFoundError'); };"
    page = visit(stack.url, width=width, color_scheme=scheme, reduced_motion="reduce", init=no_camera)
    is_live(page)
    page.click("#camera")
    until(page, "document.getElementById('camera-error').textContent.startsWith('No camera was found')")
    axe_finds_nothing(page)


@pytest.mark.parametrize("width", [320, 360, 800, 1440, 3840])
def test_fits_every_width(visit, stack, width):
    page = visit(stack.url, width=width)
    is_live(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("h2:visible").count() == 2
