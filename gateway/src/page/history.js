// What is known of the past: decisions of the scaler, oldest first. Bounded, so that a page can stay open for weeks.

import { integer, time } from "./format.js";

const MOST_POINTS = 4000;
const LONGEST = 45 * 60 * 1000;
/** Older points that changed nothing are kept this far apart. */
const COARSE = 1000;
const FINE_FOR = 2 * 60 * 1000;

const RUNNING = ["IDLE", "BUSY", "DRAINING", "CORDONED"];
const BOOTING = ["PENDING", "BOOTING"];

/** The state of an instance without its prefix, for example "BUSY". */
export const stateOf = (instance) => (instance.state ?? "").replace("INSTANCE_STATE_", "") || "UNKNOWN";

/** Makes a point of a status. */
export function pointOf(status) {
  const observation = status.observation ?? {};
  const plan = status.plan ?? {};
  const states = (observation.instances ?? []).map(stateOf);
  const queue = observation.queue;
  const acts = ["start", "cordon", "uncordon", "stop"].some((name) => plan[name]?.length > 0);
  return {
    at: time(status.at) ?? 0,
    unanswered: observation.unanswered === undefined ? null : integer(observation.unanswered),
    queue: queue ? integer(queue.visible) + integer(queue.delayed) : 0,
    wanted: plan.desiredWorkers ?? 0,
    running: states.filter((state) => RUNNING.includes(state)).length,
    booting: states.filter((state) => BOOTING.includes(state)).length + (observation.launching ?? 0),
    policy: plan.policy ?? "",
    reason: plan.reason ?? "",
    rejected: (plan.rejected ?? []).map((it) => ({ workers: it.workers ?? 0, reason: it.reason ?? "" })),
    changed: acts || (plan.launch ?? 0) > 0,
  };
}

export class History {
  points = [];

  get last() {
    return this.points.at(-1) ?? null;
  }

  add(point) {
    const last = this.last;
    if (last && point.at < last.at) return;
    if (last && point.at === last.at) this.points.pop();
    // The same decision is known twice: by the list of decisions, and as a status.
    this.points.push({ ...point, changed: point.changed || (last?.at === point.at && last.changed) });
    this.#bound();
  }

  /** Takes the scaler's own list of decisions, after a connection. */
  merge(points) {
    const known = new Map(this.points.map((point) => [point.at, point]));
    for (const point of points) {
      const at = time(point.at);
      if (at !== null) known.set(at, { ...point, at });
    }
    this.points = [...known.values()].sort((a, b) => a.at - b.at);
    this.#bound();
  }

  /** The index of the newest point that is not later than `at`, or -1. */
  indexAt(at) {
    let low = 0;
    let high = this.points.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.points[middle].at <= at) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  at(at) {
    return this.points[this.indexAt(at)] ?? null;
  }

  /** The nearest decision that changed something, before or after `at`. */
  neighbor(at, direction) {
    if (direction > 0) return this.points.find((point) => point.changed && point.at > at) ?? null;
    return this.points.findLast((point) => point.changed && point.at < at) ?? null;
  }

  #bound() {
    if (this.points.length <= MOST_POINTS) return;
    const newest = this.last.at;
    let kept = -Infinity;
    this.points = this.points.filter((point) => {
      if (newest - point.at > LONGEST) return false;
      const keep = point.changed || newest - point.at < FINE_FOR || point.at - kept >= COARSE;
      if (keep) kept = point.at;
      return keep;
    });
    if (this.points.length > MOST_POINTS) this.points.splice(0, this.points.length - MOST_POINTS + 200);
  }
}
