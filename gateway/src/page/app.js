// The page: sends photos, and shows what the event stream tells of the fleet.

import { showElapsed, showError, showPhoto, showRecognition, showWaiting } from "./answer.js";
import { listEarlier, showDecision } from "./decisions.js";
import { announce, byId, element, setText } from "./dom.js";
import { Fleet, noticesOf } from "./fleet.js";
import { length, time } from "./format.js";
import { History, pointOf } from "./history.js";
import { askForKey, currentKey, hideKeyForm, prepareKeyForm } from "./key.js";
import { preparePhotoInputs } from "./photo.js";
import { recognize } from "./recognize.js";
import { Timeline } from "./timeline.js";
import { Watch } from "./watch.js";

const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
/** The scaler's clock minus this one, in milliseconds. */
let skew = 0;
let connection = "connecting";
let refusal = "";
/** Null until the gateway has told. */
let scaler = null;
let heardScaler = 0;

const now = () => Date.now() + skew;
const history = new History();
const fleet = new Fleet(now);
const timeline = new Timeline({
  history, now,
  freshUntil: () => (connection === "live" && scaler?.connected !== false ? now() : heardScaler),
  onMoment: () => showMoment(),
});

// The fleet

function onEvent(name, data) {
  if (name === "status") onStatus(data);
  else if (name === "history") history.merge(data.points ?? []);
  else if (name === "traffic") {
    skew = (time(data.at) ?? Date.now()) - Date.now();
    fleet.showTraffic(data);
  } else if (name === "scaler") {
    scaler = data;
    showNotices();
  }
}

function onStatus(status) {
  const point = pointOf(status);
  if (!heardScaler) skew = Math.max(skew, point.at - Date.now());
  heardScaler = Math.max(point.at, now());
  if (status.standingBy === undefined && point.at > 0) history.add(point);
  fleet.show(status, point);
  showMoment();
  showNotices();
}

function showMoment() {
  const live = timeline.moment === null;
  showDecision(timeline.point, live, now());
  listEarlier(history, timeline.moment ?? Infinity, (at) => timeline.choose(at));
}

const CONNECTION = {
  connecting: "Connecting",
  live: "Live",
  stale: "Stale",
  lost: "Stale, reconnecting",
  key: "Key needed",
  forbidden: "Not allowed",
  refused: "Refused",
};

function onState(state, message) {
  const before = connection;
  connection = state;
  refusal = message;
  if (state === "live") hideKeyForm();
  if (state === "key") askForKey(message);
  if (before !== state && before !== "connecting") announce(state === "live" ? "Live again." : CONNECTION[state]);
  showConnection();
  showNotices();
}

function isStale() {
  return (connection !== "live" && connection !== "connecting") || scaler?.connected === false;
}

function showConnection() {
  const scalerLost = connection === "live" && scaler?.connected === false;
  byId("connection").dataset.state = scalerLost ? "stale" : connection;
  const lost = heardScaler ? "Stale, scaler away" : "No scaler";
  setText(byId("connection-text"), scalerLost ? lost : CONNECTION[connection]);
  byId("fleet").classList.toggle("stale", heardScaler > 0 && isStale());
}

function connectionNotices() {
  const since = heardScaler ? ` What you see is ${length((now() - heardScaler) / 1000)} old.` : "";
  if (connection === "stale") return [["warn", `Stale: no news from the gateway.${since}`]];
  if (connection === "lost") return [["warn", `Stale: the gateway cannot be reached. The page reconnects by itself.${since}`]];
  if (connection === "key") return [["info", `The workers show once you give a valid API key.${since}`]];
  if (connection === "forbidden") return [["info", `Watching needs a key with the role “operate”. Photos work without it. The service says: ${refusal}.`]];
  if (connection === "refused") return [["warn", `The gateway does not show the workers: ${refusal}. The page asks again.${since}`]];
  if (connection === "live" && scaler?.connected === false) {
    const why = scaler.message ? ` (${scaler.message})` : "";
    return [["warn", `${since ? "Stale: the" : "The"} gateway has no connection to the scaler${why}. Photos still work.${since}`]];
  }
  return [];
}

function showNotices() {
  showConnection();
  const notices = [...connectionNotices(), ...noticesOf(isStale() ? null : fleet.status, now())];
  const box = byId("notices");
  const nodes = [...box.children];
  notices.forEach(([kind, text], index) => {
    const node = nodes[index] ?? box.appendChild(element("p", { className: "notice" }));
    node.dataset.kind = kind;
    setText(node, text);
  });
  nodes.slice(notices.length).forEach((node) => node.remove());
  if (!heardScaler && notices.length > 0) setText(byId("headline"), "Nothing is known of the workers.");
}

// Photos

let sending = null;
let lastPhoto = null;
/** Whether the last photo was refused for want of a valid key. */
let lacksKey = false;

async function onPhoto(file) {
  sending?.abort();
  const attempt = new AbortController();
  sending = attempt;
  lastPhoto = file;
  showPhoto(file);
  const cold = fleet.status && !(history.last?.running > 0);
  showWaiting(cold ? `No worker runs. The scaler starts one, which takes about ${length(fleet.bootSeconds)}.` : "");
  const began = performance.now();
  const clockwork = setInterval(() => showElapsed((performance.now() - began) / 1000), calm.matches ? 1000 : 100);
  try {
    const result = await recognize(file, currentKey(), attempt.signal);
    if (sending !== attempt) return;
    clearInterval(clockwork);
    lacksKey = result.error?.code === "no_key";
    if (result.error) {
      if (lacksKey) askForKey(result.error.message);
      showError(result.error);
    } else {
      await showRecognition(result.recognition, file.name, result.seconds);
    }
  } catch (cause) {
    if (!attempt.signal.aborted) throw cause;
  } finally {
    clearInterval(clockwork);
  }
}

// All together

const watch = new Watch({ key: currentKey, onEvent, onState });
prepareKeyForm(() => {
  watch.restart();
  if (lacksKey && currentKey()) onPhoto(lastPhoto);
});
preparePhotoInputs(onPhoto);
byId("again").addEventListener("click", () => lastPhoto && onPhoto(lastPhoto));
watch.start();

let drawn = 0;
setInterval(() => {
  if (document.hidden) return;
  const pause = calm.matches ? 1000 : 100;
  if (performance.now() - drawn < pause) return;
  drawn = performance.now();
  timeline.draw();
}, 50);
setInterval(() => {
  if (document.hidden) return;
  fleet.tick();
  showNotices();
}, 1000);
