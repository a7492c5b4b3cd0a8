// The timeline: demand above, workers below, on one axis of time. It follows the present, or stands still at a chosen moment.

import { byId, setText, svg } from "./dom.js";
import { clock, counted, length } from "./format.js";

const LEFT = 36;
const RIGHT = 10;
const STEPS = 600;
/** Points farther apart than this, in milliseconds, tell nothing of the time between them. */
const FARTHEST = 3000;
/** How long a decision is drawn then. */
const HOLD = 500;
/** Distances of the marks of time, in seconds. */
const TICKS = [10, 15, 30, 60, 120, 300, 600, 1200];

/** Where the two panels are in a drawing of this width; a wide one is higher. */
function layout(width) {
  const factor = width > 1100 ? 1.8 : 1;
  const demand = { top: 14, bottom: 14 + 78 * factor };
  const workers = { top: demand.bottom + 30, bottom: demand.bottom + 30 + 100 * factor };
  return { demand, workers, height: workers.bottom + 24 };
}

export class Timeline {
  #range = 60;
  /** The chosen moment in milliseconds, or null while live. */
  #moment = null;
  /** The right end while a moment is chosen. */
  #end = 0;
  /** In the units of the drawing, which grow with the type. */
  #width = 0;
  #unit = 1;

  /** `now` gives the scaler's time, `freshUntil` the time up to which it is known. `onMoment` is called after a choice. */
  constructor({ history, now, freshUntil, onMoment }) {
    this.history = history;
    this.now = now;
    this.freshUntil = freshUntil;
    this.onMoment = onMoment;
    this.scrub = byId("scrub");
    this.chart = byId("chart");
    this.picture = svg("svg", { role: "img" });
    this.chart.append(this.picture);
    new ResizeObserver(() => {
      this.#unit = parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
      this.#width = Math.floor(this.chart.clientWidth / this.#unit);
      this.draw();
    }).observe(this.chart);
    this.#listen();
  }

  get moment() {
    return this.#moment;
  }

  /** The point shown: that of the chosen moment, or the newest. */
  get point() {
    return this.#moment === null ? this.history.last : this.history.at(this.#moment);
  }

  get #to() {
    return this.#moment === null ? this.now() : this.#end;
  }

  get #from() {
    return this.#to - this.#range * 1000;
  }

  /** Goes to a moment, or with null to the present. */
  choose(moment) {
    if (moment === null) {
      this.#moment = null;
    } else {
      if (this.#moment === null) this.#end = this.now();
      this.#moment = Math.min(moment, this.now());
      const margin = this.#range * 100;
      if (this.#moment > this.#end) this.#end = Math.min(this.now(), this.#moment + margin);
      if (this.#moment < this.#from) this.#end = Math.min(this.now(), this.#moment + this.#range * 1000 - margin);
    }
    this.draw();
    this.onMoment();
  }

  #listen() {
    this.scrub.addEventListener("input", () => {
      const value = Number(this.scrub.value);
      const end = this.#to;
      this.choose(value >= STEPS ? null : end - (1 - value / STEPS) * this.#range * 1000);
    });
    for (const radio of document.getElementsByName("range")) {
      radio.addEventListener("change", () => {
        this.#range = Number(radio.value);
        this.choose(this.#moment);
      });
    }
    const follow = (event) => {
      const inside = ((event.clientX - this.chart.getBoundingClientRect().left) / this.#unit - LEFT) / this.#plotWidth;
      const share = Math.max(0, inside);
      this.choose(share >= 0.995 ? null : this.#from + share * this.#range * 1000);
    };
    this.chart.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.chart.setPointerCapture(event.pointerId);
      follow(event);
    });
    this.chart.addEventListener("pointermove", (event) => {
      if (this.chart.hasPointerCapture(event.pointerId)) follow(event);
    });
    byId("live").addEventListener("click", () => {
      this.choose(null);
      this.scrub.focus();
    });
    byId("previous").addEventListener("click", () => this.#step(-1));
    byId("next").addEventListener("click", () => this.#step(1));
  }

  #step(direction) {
    const from = this.#moment ?? this.now() + 1;
    const neighbor = this.history.neighbor(from, direction);
    if (neighbor) this.choose(neighbor.at);
    else if (direction > 0) this.choose(null);
  }

  get #plotWidth() {
    return Math.max(1, this.#width - LEFT - RIGHT);
  }

  draw() {
    if (this.#width === 0) return;
    const [from, to] = [this.#from, this.#to];
    const points = this.#visible(from);
    const x = (at) => LEFT + (this.#plotWidth * (Math.min(Math.max(at, from), to) - from)) / (to - from);
    const end = this.#moment === null ? Math.min(to, this.freshUntil()) : to;
    const mostDemand = niceMaximum(points.map((it) => it.unanswered ?? 0), 10);
    const mostWorkers = niceMaximum(points.map((it) => Math.max(it.wanted, it.running + it.booting)), 5);
    const { demand, workers, height } = layout(this.#width);
    const demandAt = (value) => demand.bottom - ((demand.bottom - demand.top) * value) / mostDemand;
    const workersAt = (value) => workers.bottom - ((workers.bottom - workers.top) * value) / mostWorkers;
    const gaps = this.#gaps(points, to, x);
    byId("legend-gap").hidden = gaps.getAttribute("d") === "";
    this.picture.setAttribute("width", this.#width * this.#unit);
    this.picture.setAttribute("height", height * this.#unit);
    this.picture.setAttribute("viewBox", `0 0 ${this.#width} ${height}`);
    this.picture.setAttribute("aria-label", "Unanswered requests, and workers wanted, running and booting, over time");
    this.picture.replaceChildren(
      hatch(),
      ...this.#grid(from, to, x),
      gaps,
      ...axis("requests", mostDemand, demandAt, this.#width), ...axis("workers", mostWorkers, workersAt, this.#width),
      area("demand", points, (it) => it.unanswered, () => 0, x, demandAt, end),
      area("running", points, (it) => it.running, () => 0, x, workersAt, end),
      area("booting", points, (it) => it.running + it.booting, (it) => it.running, x, workersAt, end),
      svg("path", { class: "k-wanted", d: steps(points, (it) => it.wanted, x, workersAt, end) }),
      this.#decisions(points, from, x),
      ...this.#cursor(x));
    this.#controls(from, to);
  }

  /** The points of the window, and the last one before it. */
  #visible(from) {
    const points = this.history.points;
    return points.slice(Math.max(0, this.history.indexAt(from)), this.history.indexAt(this.#to) + 1);
  }

  #grid(from, to, x) {
    const { demand, workers, height } = layout(this.#width);
    const room = this.#plotWidth / 74;
    const seconds = TICKS.find((it) => this.#range / it <= room) ?? TICKS.at(-1);
    const marks = [];
    // Whole distances of local time.
    const offset = new Date(to).getTimezoneOffset() * 60000;
    const distance = seconds * 1000;
    for (let at = Math.ceil((from - offset) / distance) * distance + offset; at <= to; at += distance) {
      marks.push(svg("path", { class: "grid", d: `M${x(at)} ${demand.top}V${demand.bottom}M${x(at)} ${workers.top}V${workers.bottom}` }));
      if (x(at) > LEFT + 20 && x(at) < this.#width - 26) {
        marks.push(svg("text", { class: "tick", x: x(at), y: height - 6, "text-anchor": "middle" }, clock(at)));
      }
    }
    return marks;
  }

  /** Times of which only decisions are known. */
  #gaps(points, end, x) {
    const { demand, workers } = layout(this.#width);
    const path = points.map((point, index) => {
      const [from, to] = [knownUntil(points, index, end), points[index + 1]?.at ?? end];
      return to > from ? `M${x(from).toFixed(1)} ${demand.top}H${x(to).toFixed(1)}V${workers.bottom}H${x(from).toFixed(1)}z` : "";
    });
    return svg("path", { class: "gap", d: path.join("") });
  }

  #decisions(points, from, x) {
    const { workers } = layout(this.#width);
    const marks = points.filter((point) => point.changed && point.at >= from);
    return svg("path", { class: "decided", d: marks.map((point) => `M${x(point.at).toFixed(1)} ${workers.bottom + 1}v5`).join("") });
  }

  #cursor(x) {
    const { demand, workers } = layout(this.#width);
    if (this.#moment === null) return [];
    return [svg("path", { class: "cursor", d: `M${x(this.#moment)} ${demand.top - 6}V${workers.bottom + 6}` })];
  }

  #controls(from, to) {
    const live = this.#moment === null;
    const value = live ? STEPS : Math.round((STEPS * (this.#moment - from)) / (to - from));
    if (Number(this.scrub.value) !== value) this.scrub.value = String(value);
    byId("live").disabled = live;
    byId("next").disabled = live;
    byId("previous").disabled = this.history.neighbor(this.#moment ?? this.now() + 1, -1) === null;
    this.chart.dataset.live = String(live);
    const point = this.point;
    for (const name of ["unanswered", "wanted", "running", "booting"]) setText(byId(`l-${name}`), String(point?.[name] ?? "–"));
    const ago = length((this.now() - (this.#moment ?? 0)) / 1000);
    const old = point && this.#moment - point.at > FARTHEST ? ` Known then: the decision of ${clock(point.at)}.` : "";
    setText(byId("moment"), live ? "Live. Drag over the chart to look back." : `${clock(this.#moment)}, ${ago} ago.${old}`);
    const spoken = live ? "Live" : point
      ? `${clock(this.#moment)}: ${counted(point.unanswered ?? 0, "request")} unanswered, ${point.wanted} workers wanted, ${point.running} running, ${point.booting} booting`
      : `${clock(this.#moment)}: nothing known`;
    if (this.scrub.getAttribute("aria-valuetext") !== spoken) this.scrub.setAttribute("aria-valuetext", spoken);
  }
}

function niceMaximum(values, least) {
  const most = Math.max(least, ...values);
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((it) => it * power).find((it) => it >= most && Number.isInteger(it / 1)) ?? most;
}

function axis(name, most, y, width) {
  const values = [0, most / 2, most].filter(Number.isInteger);
  return [
    svg("text", { class: "axis", x: LEFT, y: y(most) - 6 }, name),
    ...values.map((value) => svg("text", { class: "tick", x: LEFT - 7, y: y(value) + 4, "text-anchor": "end" }, String(value))),
    ...values.map((value) => svg("path", { class: value === 0 ? "base" : "grid", d: `M${LEFT} ${y(value)}H${width - RIGHT}` })),
  ];
}

/**
 * Until when the value of a point is known: until the next point, if that is near. While the page watches, points are at most
 * a second apart; of the time before and of interruptions only decisions are known.
 */
function knownUntil(points, index, end) {
  const [{ at }, next] = [points[index], points[index + 1]];
  if (!next) return Math.max(at, Math.min(end, at + FARTHEST));
  return next.at - at > FARTHEST ? at + HOLD : next.at;
}

/** A line that keeps each value as long as it is known. */
function steps(points, value, x, y, end) {
  let path = "";
  let reached = null;
  points.forEach((point, index) => {
    const [left, height] = [x(point.at).toFixed(1), y(value(point)).toFixed(1)];
    path += reached === point.at ? `V${height}` : `M${left} ${height}`;
    reached = knownUntil(points, index, end);
    path += `H${x(reached).toFixed(1)}`;
  });
  return path;
}

/** The area between two step lines. */
function area(name, points, upper, lower, x, y, end) {
  let path = "";
  points.forEach((point, index) => {
    const [top, bottom] = [upper(point), lower(point)];
    if (top === null || top === bottom) return;
    const [left, right] = [x(point.at), x(knownUntil(points, index, end))];
    path += `M${left.toFixed(1)} ${y(bottom).toFixed(1)}V${y(top).toFixed(1)}H${right.toFixed(1)}V${y(bottom).toFixed(1)}z`;
  });
  return svg("path", { class: `k-${name}`, d: path });
}

function hatch() {
  const pattern = svg("pattern", { id: "hatch", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("rect", { class: "hatch-ground", width: 5, height: 5 }), svg("path", { class: "hatch-line", d: "M0 0V5" }));
  return svg("defs", {}, pattern);
}
