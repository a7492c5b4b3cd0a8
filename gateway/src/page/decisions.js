// The scaler's decisions as sentences, with the alternatives that it rejected.

import { byId, element, setText } from "./dom.js";
import { clock, counted, length, sentence } from "./format.js";

/** What the scaler's words mean, for those who read them for the first time. */
const WORDS = [
  [/\bstart \d/, "Start: switch on a stopped worker."],
  [/\blaunch \d/, "Launch: make a new worker."],
  [/\bname \d/, "Name: give a new worker its number."],
  [/\bcordon \d/, "Cordon: let a worker take no more photos, so that it can be stopped."],
  [/\buncordon \d/, "Uncordon: let it take photos again."],
];
const MOST_EARLIER = 40;
let shownEarlier = "";

/** Shows the decision of a point. `live` says that it is the newest one. */
export function showDecision(point, live, now) {
  const when = byId("decision-when");
  if (!point) {
    setText(when, live ? "" : "Nothing is known of this moment.");
    setText(byId("decision"), "No decision yet.");
  } else {
    const age = Math.max(0, now - point.at) / 1000;
    setText(when, live ? "Now" : `At ${clock(point.at)}, ${length(age)} ago`);
    setText(byId("decision"), sentence(point.reason) || "No decision yet.");
  }
  setText(byId("words"), WORDS.filter(([word]) => word.test(point?.reason ?? "")).map(([, meaning]) => meaning).join(" "));
  const rejected = point?.rejected ?? [];
  byId("rejected-title").hidden = rejected.length === 0;
  const key = rejected.map((it) => `${it.workers} ${it.reason}`).join("\n");
  const list = byId("rejected");
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.replaceChildren(...rejected.map((it) => element("li", {},
    element("b", { textContent: counted(it.workers, "worker") }), ` ${sentence(it.reason)[0].toLowerCase()}${sentence(it.reason).slice(1)}`)));
}

/** Lists the newest decisions that changed something; a click goes to the moment. */
export function listEarlier(history, before, choose) {
  const changed = [];
  for (let index = history.indexAt(before); index >= 0 && changed.length < MOST_EARLIER; index -= 1) {
    if (history.points[index].changed) changed.push(history.points[index]);
  }
  const key = changed.map((it) => it.at).join();
  if (key === shownEarlier) return;
  shownEarlier = key;
  byId("earlier-title").hidden = changed.length === 0;
  byId("earlier").replaceChildren(...changed.map((point) => {
    const button = element("button", { type: "button" },
      element("time", { textContent: clock(point.at) }), element("span", { textContent: sentence(point.reason) }));
    button.addEventListener("click", () => choose(point.at));
    return element("li", {}, button);
  }));
}
