// The fleet as of now: a sentence, the numbers, notices, and a tile for each worker.

import { byId, element, setText, svg } from "./dom.js";
import { counted, dollars, length, milliseconds, rate, sentence, time } from "./format.js";
import { stateOf } from "./history.js";

/** Above this many workers, tiles shrink and come in groups. */
const MOST_FULL_TILES = 60;
/** Milliseconds between two drawings of the groups. */
const GROUPS_EVERY = 400;
const UP = ["PENDING", "BOOTING", "IDLE", "BUSY", "DRAINING", "CORDONED"];

/** By state: its word, its shape, and what it means. In the order of a worker's life. */
const STATES = {
  BUSY: ["busy", "M2 8a6 6 0 1 0 12 0a6 6 0 1 0-12 0", "recognizes a photo"],
  IDLE: ["idle", "M2 8a6 6 0 1 0 12 0a6 6 0 1 0-12 0M5 8a3 3 0 1 1 6 0a3 3 0 1 1-6 0", "waits for a photo"],
  BOOTING: ["booting", "M8 2a6 6 0 0 1 0 12z", "runs, its worker loads the model"],
  PENDING: ["pending", "M3 2h10L8 8l5 6H3l5-6z", "started, not yet running"],
  DRAINING: ["draining", "M6 2h4v6h4l-6 6l-6-6h4z", "takes no more photos and finishes its last ones"],
  CORDONED: ["cordoned", "M3 2h4v12H3zM9 2h4v12H9z", "idle, takes no more photos and can be stopped"],
  STOPPING: ["stopping", "M3 3h10v10H3z", "is being stopped"],
  STOPPED: ["stopped", "M2 7h12v2H2z", "off, costs nothing, can be started"],
  UNKNOWN: ["unknown", "M7 2h2v8H7zM7 12h2v2H7z", "of an unknown state"],
};

const known = (instance) => (stateOf(instance) in STATES ? stateOf(instance) : "UNKNOWN");
const icon = (state) => svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true", class: "icon" },
  svg("path", { d: STATES[state][1], "fill-rule": "evenodd" }));

export class Fleet {
  #tiles = new Map();
  #status = null;
  #grouped = -Infinity;

  get status() {
    return this.#status;
  }

  /** `now` gives the scaler's time in milliseconds. */
  constructor(now) {
    this.now = now;
  }

  /** How long a first worker takes to come up, as measured or assumed. */
  get bootSeconds() {
    return this.#status?.estimates?.boot?.meanSeconds ?? 1;
  }

  show(status, point) {
    this.#status = status;
    const observation = status.observation ?? {};
    const instances = [...(observation.instances ?? [])].sort(byNumber);
    const launching = observation.launching ?? 0;
    setText(byId("headline"), this.#headline(point, instances));
    this.#numbers(status, instances, point);
    const tiles = byId("tiles");
    const compact = instances.length + launching > MOST_FULL_TILES;
    if (tiles.dataset.compact !== String(compact)) {
      tiles.replaceChildren();
      this.#tiles.clear();
      tiles.dataset.compact = String(compact);
    }
    if (compact) this.#groups(tiles, instances, launching);
    else this.#full(tiles, instances, launching);
    const empty = instances.length + launching === 0;
    byId("no-workers").hidden = !empty;
    if (empty) setText(byId("no-workers"), "No worker exists yet. The scaler launches the first ones when photos arrive.");
    setText(byId("counts"), counts(instances, launching));
  }

  showTraffic(traffic) {
    const times = traffic.latencyMs;
    setText(byId("n-latency"), times
      ? `${milliseconds(times.p50)} · ${milliseconds(times.p95)} · ${milliseconds(times.p99)}`
      : "no answers");
    byId("n-latency").title = times ? "half, 95 % and 99 % of the answers came within these times" : "";
  }

  /** Advances the times on the tiles. */
  tick() {
    for (const { since, node } of this.#tiles.values()) this.#age(since, node);
  }

  #headline(point, instances) {
    if (this.#status.standingBy !== undefined) return "This scaler stands by; another one decides.";
    const { running, booting, unanswered } = point;
    const boot = length(this.bootSeconds);
    if (running + booting === 0 && !unanswered) {
      const pool = instances.filter((it) => known(it) === "STOPPED").length;
      const ready = pool > 0 ? ` ${pool === 1 ? "One is" : `${pool} are`} stopped and ready.` : "";
      return `No worker runs.${ready} Drop a photo: the first one starts in about ${boot}.`;
    }
    const demand = unanswered === null ? "How many photos wait is not known." : unanswered === 0 ? "No photo waits."
      : `${counted(unanswered, "photo")} ${unanswered === 1 ? "waits" : "wait"} for an answer.`;
    const coming = booting > 0 ? ` ${booting} more ${booting === 1 ? "is" : "are"} booting.` : "";
    const workers = running === 0 ? "No worker runs yet." : `${counted(running, "worker")} ${running === 1 ? "runs" : "run"}.`;
    return `${workers}${coming} ${demand}`;
  }

  #numbers(status, instances, point) {
    const up = instances.filter((it) => UP.includes(known(it))).length;
    const price = status.policy?.pricePerHour ?? 0;
    setText(byId("n-unanswered"), point.unanswered === null ? "unknown" : String(point.unanswered));
    setText(byId("n-queue"), status.observation?.queue ? String(point.queue) : "unknown");
    setText(byId("n-rate"), rate(status.estimates?.arrivalRate ?? 0));
    setText(byId("n-cost"), dollars(status.observation?.billing?.spent ?? 0));
    setText(byId("n-hour"), dollars(up * price));
    byId("n-hour").title = `${counted(up, "worker")} at ${dollars(price)} an hour each, the price that the scaler is set to`;
  }

  #full(container, instances, launching) {
    let list = container.querySelector("ul");
    if (!list) {
      list = element("ul", { className: "tiles", "aria-label": "Workers" });
      container.replaceChildren(list);
    }
    const wanted = [];
    for (const instance of instances) wanted.push(this.#tile(instance));
    for (let index = 0; index < launching; index += 1) {
      wanted.push(this.#tile({ instanceId: `launching ${index}`, name: "", state: "PENDING", launching: true }));
    }
    const ids = new Set(wanted.map(({ id }) => id));
    for (const [id, { node }] of this.#tiles) {
      if (ids.has(id)) continue;
      node.remove();
      this.#tiles.delete(id);
    }
    wanted.forEach(({ node }, index) => {
      if (list.children[index] !== node) list.insertBefore(node, list.children[index] ?? null);
    });
  }

  #tile(instance) {
    const id = instance.instanceId;
    const state = known(instance);
    const since = time(instance.since);
    let tile = this.#tiles.get(id);
    if (!tile) {
      tile = { id, state: "", mark: "", node: element("li", { className: "tile" }) };
      tile.node.append(icon("UNKNOWN"), element("span", { className: "which" }), element("span", { className: "word" }),
        element("span", { className: "age" }), element("span", { className: "flag" }));
      this.#tiles.set(id, tile);
    }
    tile.since = since;
    const { node } = tile;
    if (tile.state !== state) {
      tile.state = state;
      node.dataset.state = STATES[state][0];
      node.firstElementChild.replaceWith(icon(state));
    }
    const mark = instance.leaving ? "AWS takes it away" : instance.outdated ? "older version" : "";
    const which = instance.number ?? (id.startsWith("launching") ? "new" : id.slice(-4));
    setText(node.querySelector(".which"), String(which));
    setText(node.querySelector(".word"), instance.launching ? "launching" : STATES[state][0]);
    setText(node.querySelector(".flag"), mark);
    const title = instance.launching ? "is being launched" : `${instance.name || "unnamed"}, ${id}: ${STATES[state][2]}`;
    if (node.title !== title) node.title = title;
    this.#age(since, node);
    return tile;
  }

  #age(since, node) {
    const text = since === null ? "" : `for ${length(Math.max(0, Math.floor((this.now() - since) / 1000)))}`;
    setText(node.querySelector(".age"), text.replace("0.0 s", "0 s"));
  }

  /** Many workers: a heading with the count of each state, and one small mark for each worker. */
  #groups(container, instances, launching) {
    if (performance.now() - this.#grouped < GROUPS_EVERY) return;
    this.#grouped = performance.now();
    const groups = Object.keys(STATES).map((state) => [state, instances.filter((it) => known(it) === state)]);
    container.replaceChildren(...groups.filter(([, members]) => members.length > 0).map(([state, members]) =>
      element("section", { className: "group", "data-state": STATES[state][0] },
        element("h4", {}, icon(state), `${members.length} ${STATES[state][0]}`),
        element("p", { className: "quiet", textContent: `Each ${STATES[state][2]}.` }),
        element("div", { className: "marks", "aria-hidden": "true" }, ...members.map((it) =>
          element("i", { title: `${it.name || it.instanceId}`, textContent: it.number === undefined ? "" : String(it.number) }))))));
    if (launching > 0) container.append(element("p", { textContent: `${launching} more are being launched.` }));
  }
}

const byNumber = (a, b) => (a.number ?? Infinity) - (b.number ?? Infinity) || (a.instanceId < b.instanceId ? -1 : 1);

function counts(instances, launching) {
  const parts = Object.entries(STATES)
    .map(([state, [word]]) => [instances.filter((it) => known(it) === state).length, word])
    .filter(([count]) => count > 0)
    .map(([count, word]) => `${count} ${word}`);
  if (launching > 0) parts.push(`${launching} launching`);
  return parts.join(", ");
}

/** What is unusual, as [kind, sentence] pairs. */
export function noticesOf(status, now) {
  const observation = status?.observation ?? {};
  const notices = [];
  if (status?.standingBy !== undefined) notices.push(["info", `On standby: ${sentence(status.standingBy)}`]);
  if (status?.pausedBy !== undefined) {
    notices.push(["warn", `Scaling is paused by ${status.pausedBy || "somebody"}: no worker starts or stops until “scaler resume”.`]);
  }
  if (status && status.standingBy === undefined && observation.unanswered === undefined) {
    notices.push(["warn", "Front cannot be reached, so the scaler does not know the demand. It goes by the queue."]);
  }
  const held = time(observation.failedBoots?.heldUntil);
  if (held !== null && held > now) {
    notices.push(["warn", `Workers failed to boot ${counted(observation.failedBoots.inARow ?? 0, "time")} in a row. The next start waits ${length((held - now) / 1000)}.`]);
  }
  const outdated = (observation.instances ?? []).filter((it) => it.outdated && known(it) !== "STOPPED").length;
  if (outdated > 0) {
    notices.push(["info", `${counted(outdated, "worker")} of an older version: ${outdated === 1 ? "it finishes" : "they finish"} what is begun and ${outdated === 1 ? "is" : "are"} then replaced.`]);
  }
  const leaving = (observation.instances ?? []).filter((it) => it.leaving).length;
  if (leaving > 0) notices.push(["warn", `AWS takes ${counted(leaving, "worker")} away. Others take over.`]);
  return notices;
}
