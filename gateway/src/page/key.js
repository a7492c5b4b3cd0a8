// The API key: kept in this tab's session storage only, and asked for when the service answers 401.

import { byId, setText } from "./dom.js";

const SLOT = "muster-api-key";

export function currentKey() {
  return sessionStorage.getItem(SLOT) ?? "";
}

/** Prepares the form. `onKey` is called when the user gives a key or forgets it. */
export function prepareKeyForm(onKey) {
  byId("forget").hidden = !currentKey();
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = byId("key-input").value.trim();
    if (!key) return;
    // A header cannot carry other characters, and no key has them.
    if (!/^[\x21-\x7e]+$/.test(key)) {
      setText(byId("key-error"), "A key has letters, digits and signs only. Copy it again, without spaces or line ends.");
      return;
    }
    sessionStorage.setItem(SLOT, key);
    byId("key-input").value = "";
    setText(byId("key-error"), "");
    byId("forget").hidden = false;
    onKey();
  });
  byId("forget").addEventListener("click", () => {
    sessionStorage.removeItem(SLOT);
    byId("forget").hidden = true;
    onKey();
  });
}

/** Shows the form. `message` is the service's: with a key, it was refused. */
export function askForKey(message) {
  const section = byId("key");
  const refused = currentKey() !== "";
  setText(byId("key-error"), refused ? `The service refused this key: ${message}.` : "");
  if (!section.hidden) return;
  section.hidden = false;
  // An element that the reader uses keeps the focus.
  if (document.activeElement === document.body || document.activeElement === null) byId("key-input").focus();
}

export function hideKeyForm() {
  const section = byId("key");
  if (section.hidden) return;
  const focused = section.contains(document.activeElement);
  section.hidden = true;
  if (focused) byId("choose").focus();
}
