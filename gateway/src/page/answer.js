// Shows the photo with the face boxed, and the answer beside it.

import { announce, byId, element, setText, svg } from "./dom.js";
import { milliseconds } from "./format.js";

const LANDMARKS = ["left eye", "right eye", "nose", "left corner of the mouth", "right corner of the mouth"];
/** The stages of a photo in the order of time: field of `timings`, label, what it is. */
const STAGES = [
  ["wait", "waiting", "stored, queued, for a worker to start or to be free, and the reply's way back"],
  ["fetch_ms", "fetch", "from the object store into the worker"],
  ["decode_ms", "decode", "from JPEG, PNG or WebP to pixels"],
  ["detect_ms", "detect", "where the faces are"],
  ["embed_ms", "embed", "the largest face as a list of numbers"],
  ["match_ms", "match", "with the people that the worker knows"],
  ["store_ms", "store", "the result into the object store"],
];
let shownUrl = null;

function showOnly(part) {
  for (const name of ["empty", "wait", "error", "name"]) byId(`answer-${name}`).hidden = name !== part;
  byId("answer").dataset.state = part;
}

/** Shows the photo without a result, and releases the one before. */
export function showPhoto(file) {
  if (shownUrl) URL.revokeObjectURL(shownUrl);
  shownUrl = URL.createObjectURL(file);
  const photo = byId("photo");
  byId("overlay").replaceChildren();
  byId("drop").classList.remove("unshowable");
  photo.onerror = () => byId("drop").classList.add("unshowable");
  photo.src = shownUrl;
  photo.alt = `The photo ${file.name}`;
  byId("stage").hidden = false;
  byId("drop").classList.add("filled");
  byId("again").hidden = false;
}

export function showWaiting(note) {
  setText(byId("elapsed"), "");
  setText(byId("wait-note"), note);
  showOnly("wait");
  announce("Photo sent. Waiting for a worker.");
}

export function showElapsed(seconds) {
  setText(byId("elapsed"), `${seconds.toFixed(1)} s`);
}

export function showError(error) {
  setText(byId("error-title"), error.title);
  setText(byId("error-message"), `The service says: ${error.message}`);
  setText(byId("error-advice"), error.advice);
  setText(byId("error-id"), error.requestId);
  byId("error-id").parentElement.hidden = !error.requestId;
  showOnly("error");
  announce(`${error.title}. ${error.message}. ${error.advice}`);
}

export async function showRecognition(recognition, fileName, seconds) {
  const unknown = recognition.name !== recognition.nearest_name;
  setText(byId("result-file"), fileName);
  setText(byId("result-name"), recognition.name);
  byId("result-name").classList.toggle("unknown", unknown);
  setText(byId("result-sentence"), verdict(recognition, unknown));
  setText(byId("result-id"), recognition.request_id);
  drawScale(recognition);
  drawTimings(recognition.timings ?? {}, seconds);
  showOnly("name");
  announce(`${recognition.name}. ${byId("result-sentence").textContent}`);
  await byId("photo").decode().catch(() => {});
  drawFace(recognition);
}

function verdict(recognition, unknown) {
  const distance = recognition.distance.toFixed(2);
  const threshold = recognition.threshold;
  if (!threshold) return `Distance ${distance}.`;
  const limit = threshold.toFixed(2);
  return unknown
    ? `No person that the service knows. The nearest is ${recognition.nearest_name}, at a distance of ${distance}; the threshold is ${limit}.`
    : `At a distance of ${distance}, within the threshold of ${limit}.`;
}

/** One row for each candidate on a common scale, which the threshold crosses. */
function drawScale(recognition) {
  const candidates = recognition.candidates?.length > 0
    ? recognition.candidates
    : [{ name: recognition.nearest_name, distance: recognition.distance }];
  const threshold = recognition.threshold ?? 0;
  const largest = Math.max(threshold * 1.25, ...candidates.map((it) => it.distance * 1.08), 0.1);
  const scale = byId("scale");
  const percent = (value) => `${(100 * Math.min(value / largest, 1)).toFixed(2)}%`;
  scale.style.setProperty("--threshold", percent(threshold));
  scale.classList.toggle("bare", !threshold);
  scale.replaceChildren(...candidates.map((candidate) => {
    const within = candidate.distance <= threshold;
    const row = element("li", { className: within ? "within" : "beyond" },
      element("span", { className: "who", textContent: candidate.name, title: candidate.name }),
      element("span", { className: "track", "aria-hidden": "true" }, element("i")),
      element("span", { className: "number", textContent: candidate.distance.toFixed(2) }),
      element("span", { className: "hidden", textContent: !threshold ? "" : within ? ", within the threshold" : ", beyond the threshold" }));
    row.style.setProperty("--at", percent(candidate.distance));
    return row;
  }));
  const foot = byId("scale-threshold");
  foot.hidden = !threshold;
  foot.style.setProperty("--threshold", percent(threshold));
  setText(foot.firstElementChild, `threshold ${threshold.toFixed(2)}`);
}

function drawTimings(timings, seconds) {
  const known = STAGES.slice(1).reduce((sum, [field]) => sum + (timings[field] ?? 0), 0);
  const total = Math.max(timings.total_ms ?? 0, known);
  const times = { ...timings, wait: total - known };
  setText(byId("timing-total"), `${milliseconds(total)} in the service, ${milliseconds(seconds * 1000)} as seen from here`);
  const parts = STAGES.map(([field, label, meaning], index) => ({ value: times[field] ?? 0, label, meaning, index }));
  byId("timing-bar").replaceChildren(...parts.map((part) => {
    const bar = element("i", { className: `stage-${part.index}` });
    bar.style.flexGrow = String(Math.max(part.value, total / 400));
    return bar;
  }));
  byId("timing-list").replaceChildren(...parts.map((part) => element("li", { title: part.meaning },
    element("span", { className: `swatch stage-${part.index}`, "aria-hidden": "true" }),
    element("span", { textContent: part.label }),
    element("b", { className: "number", textContent: milliseconds(part.value) }))));
}

/** The box is in pixels of the upright photo, as are an image's natural sizes. */
function drawFace({ box, landmarks, name }) {
  const photo = byId("photo");
  const overlay = byId("overlay");
  const [width, height] = [photo.naturalWidth, photo.naturalHeight];
  if (!box || width === 0) return;
  overlay.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const frame = { x: box.left, y: box.top, width: box.right - box.left, height: box.bottom - box.top, rx: (box.right - box.left) / 24 };
  const dots = (landmarks ?? []).map(({ x, y }) => `M${x} ${y}h0`).join("");
  overlay.replaceChildren(
    svg("rect", { class: "halo", ...frame }), svg("rect", { class: "box", ...frame }),
    svg("path", { class: "dots halo", d: dots }), svg("path", { class: "dots", d: dots }));
  photo.alt += `. Face of ${name} in a box of ${Math.round(frame.width)} by ${Math.round(frame.height)} pixels, with ${LANDMARKS.join(", ")} marked`;
}
