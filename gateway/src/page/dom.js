// Small helpers for the document. Data becomes text, never markup.

export const byId = (id) => document.getElementById(id);

/** Makes an element. `properties` with a dash are attributes, the others properties. */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children);
  return node;
}

/** Makes an SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Sets text only when it differs, so that unchanged parts are neither painted nor announced again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Says one thing to screen readers. */
export function announce(text) {
  setText(byId("announcer"), text);
}
