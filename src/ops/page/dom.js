// Nodes of the page. What comes from outside is only ever set as text: ids and payloads are hostile.

export const byId = (id) => document.getElementById(id);

/** A node with attributes and children; a child that is no node is text. */
export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

/** Sets a node's text. One that has it already is left alone, so that no screen reader says it again. */
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Sets an attribute, or takes it away. */
export function mark(node, name, value) {
  if (value === undefined) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

const known = new WeakMap();

/**
 * Shows items as children of a node, in their order. `make(item)` gives a node and what updates it. The node of an item
 * that was there before stays, with its focus and what is unfolded in it.
 */
export function list(parent, items, key, make) {
  const before = known.get(parent) ?? new Map();
  const now = new Map();
  for (const item of items) {
    const name = key(item);
    if (now.has(name)) continue;
    const row = before.get(name) ?? make(item);
    row.update?.(item);
    now.set(name, row);
  }
  for (const [name, row] of before) if (!now.has(name)) row.node.remove();
  let place = parent.firstElementChild;
  for (const { node } of now.values()) {
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  known.set(parent, now);
}

/** A shape and a word: a state is told by more than its colour. */
export function state(word) {
  const text = element("span", {}, word);
  const node = element("span", { class: "state", "data-state": word }, text);
  return {
    node,
    update(next, words = next) {
      mark(node, "data-state", next);
      put(text, words);
    },
  };
}
