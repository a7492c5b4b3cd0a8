"""Photos on the page: how they come, and what the answer shows."""

import re

import pytest

from conftest import is_live, recognize, sample, until
from stack import photos

# A JPEG's segment APP1 with the EXIF orientation 6.
EXIF = bytes.fromhex("ffe1 0022 457869660000 4d4d002a 00000008 0001 0112 0003 00000001 0006 0000 00000000")
# Turns a photo a quarter to the left, so that the orientation 6 sets it upright.
TURN = """async (bytes) => {
  const image = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.height, image.width];
  const context = canvas.getContext("2d");
  context.translate(0, image.width);
  context.rotate(-Math.PI / 2);
  context.drawImage(image, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.97));
  return [...new Uint8Array(await blob.arrayBuffer())];
}"""


def face(page):
    """The box on the overlay, and the photo's size there."""
    page.wait_for_selector("#overlay rect.box", state="attached")
    box = [float(page.get_attribute("#overlay rect.box", it)) for it in ("x", "y", "width", "height")]
    return box, page.get_attribute("#overlay", "viewBox")


@pytest.mark.parametrize("person", sorted({name for _, name in photos()}))
def test_names_the_person(visit, stack, person):
    page = visit(stack.url)
    assert recognize(page, sample(person)) == person
    assert re.fullmatch("[0-9a-f]{32}", page.inner_text("#result-id"))


def test_the_answer_shows_what_the_service_says(visit, stack):
    page = visit(stack.url)
    with page.expect_response(lambda it: it.request.method == "POST") as response:
        recognize(page, sample("madonna"), "madonna.jpg")
    answer = response.value.json()
    box, size = face(page)
    assert box == pytest.approx([answer["box"]["left"], answer["box"]["top"], answer["box"]["right"] - answer["box"]["left"],
                                 answer["box"]["bottom"] - answer["box"]["top"]])
    natural = page.evaluate("[photo.naturalWidth, photo.naturalHeight]")
    assert size == f"0 0 {natural[0]} {natural[1]}"
    assert page.get_attribute("#overlay path.dots:not(.halo)", "d").count("M") == 5
    assert len(answer["candidates"]) == 3
    rows = page.locator("#scale li")
    assert rows.count() == 3
    for row, candidate in zip(rows.all(), answer["candidates"]):
        assert candidate["name"] in row.inner_text() and f"{candidate['distance']:.2f}" in row.inner_text()
    assert f"{answer['threshold']:.2f}" in page.inner_text("#scale-threshold")
    stages = page.locator("#timing-list li").all_inner_texts()
    assert [it.split()[0] for it in stages] == ["waiting", "fetch", "decode", "detect", "embed", "match", "store"]
    assert page.locator("#timing-bar i").count() == 7
    assert page.inner_text("#result-id") == answer["request_id"]
    assert "madonna" in page.inner_text("#announcer")


def test_a_photo_that_lies_on_its_side_is_boxed_upright(visit, stack):
    page = visit(stack.url)
    path = sample("elton_john")
    recognize(page, path)
    upright, size = face(page)
    turned = bytes(page.evaluate(TURN, list(path.read_bytes())))
    page.set_input_files("#file", files=[{"name": "turned.jpg", "mimeType": "image/jpeg", "buffer": turned[:2] + EXIF + turned[2:]}])
    page.wait_for_selector('#answer[data-state="wait"]', state="attached")
    page.wait_for_selector('#answer[data-state="name"]')
    assert page.inner_text("#result-name") == "elton_john"
    box, turned_size = face(page)
    assert turned_size == size
    assert box == pytest.approx(upright, abs=0.08 * upright[2])


def test_an_error_says_what_to_do(visit, stack):
    page = visit(stack.url, allowed=["status of 415", "status of 400"])
    page.set_input_files("#file", files=[{"name": "letter.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4"}])
    page.wait_for_selector("#answer-error")
    assert "This is not a photo" in page.inner_text("#answer")
    assert "Convert other formats" in page.inner_text("#answer")
    assert re.search("Request [0-9a-f]{32}", page.inner_text("#answer"))


# Chromium runs tests of the clipboard only in secure contexts with permissions, so the events are made here.
GIVE = """([kind, bytes, name]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/jpeg" }));
  const event = kind === "drop" ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
    : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_photo_can_be_dropped_and_pasted(visit, stack, kind):
    page = visit(stack.url)
    page.evaluate(GIVE, [kind, list(sample("mindy_kaling").read_bytes()), "image.jpg"])
    page.wait_for_selector('#answer[data-state="name"]')
    assert page.inner_text("#result-name") == "mindy_kaling"


def test_a_photo_can_be_taken_by_the_camera(visit, stack):
    # A picture that moves, of a sample photo, in place of a camera.
    camera = """navigator.mediaDevices.getUserMedia = async () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [window.face.width, window.face.height];
      const draw = () => canvas.getContext("2d").drawImage(window.face, 0, 0);
      draw();
      setInterval(draw, 50);
      return canvas.captureStream(20);
    };"""
    page = visit(stack.url, init=camera)
    page.evaluate("async (bytes) => { window.face = await createImageBitmap(new Blob([new Uint8Array(bytes)])); }",
                  list(sample("elton_john").read_bytes()))
    page.click("#camera")
    until(page, "document.getElementById('video').videoWidth > 0")
    page.click("#shoot")
    page.wait_for_selector('#answer[data-state="name"]')
    assert page.inner_text("#result-name") == "elton_john"
    assert page.evaluate("document.getElementById('video').srcObject") is None


def test_the_keyboard_is_enough(visit, stack):
    page = visit(stack.url)
    # Playwright does not wait until the browser knows that it listens, so it begins early.
    page.on("filechooser", lambda chooser: None)
    is_live(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    tab_to(page, "choose")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(sample("ben_afflek"))
    page.wait_for_selector('#answer[data-state="name"]')
    assert page.inner_text("#result-name") == "ben_afflek"
    assert page.get_attribute("#scrub", "aria-valuetext") == "Live"
    tab_to(page, "scrub")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    spoken = page.get_attribute("#scrub", "aria-valuetext")
    assert re.search(r"\d+ requests? unanswered, \d+ workers wanted, \d+ running, \d+ booting|nothing known", spoken), spoken
    tab_to(page, "live")
    page.keyboard.press("Enter")
    assert page.get_attribute("#scrub", "aria-valuetext") == "Live"
    assert page.evaluate("document.activeElement.id") == "scrub"


def tab_to(page, identifier):
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == identifier:
            return
    raise AssertionError(f"Tab does not reach #{identifier}")
