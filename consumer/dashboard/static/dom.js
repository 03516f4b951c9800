// Makes elements without a parser, so that anything from outside is only text.

const SVG = "http://www.w3.org/2000/svg";
const READ = new Set(["data-tip", "aria-label"]);

// Writes out invisible characters: control characters, changes of direction, characters without a width, and what a
// font draws as nothing (the same as consumer/mcp/text.py).
const UNSEEN = /[^\P{C}\n\t]|[\p{Zl}\p{Zp}]|[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\u{16fe4}\u{1d159}\u{e0000}-\u{e0fff}]/gu;
const visible = (text) =>
  text.replace(UNSEEN, (character) => `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "style") for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
    else if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : READ.has(name) ? visible(String(value)) : String(value));
  }
  const shown = children.flat().filter((child) => child !== null && child !== undefined && child !== false);
  element.append(...shown.map((child) => (child instanceof Node ? child : visible(String(child)))));
  return element;
}

export const el = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);

export const svg = (name, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, name), attributes, children);

// Keeps the focus on the same element, by its data-key, if the element still exists.
export function replace(container, ...children) {
  const focused = container.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  container.replaceChildren(...children.flat().filter(Boolean));
  if (focused === undefined) return;
  for (const element of container.querySelectorAll("[data-key]")) {
    if (element.dataset.key === focused) element.focus({ preventScroll: true });
  }
}

// Up and down go through the rows, Home and End to the first and last row. A row's own link opens it.
export function walkWithArrows(container) {
  container.addEventListener("keydown", (event) => {
    const stops = [...container.querySelectorAll("a[data-key]")];
    const here = stops.indexOf(document.activeElement);
    const there = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: stops.length - 1 }[event.key];
    if (there === undefined || here < 0 || !stops[there]) return;
    event.preventDefault();
    stops[there].focus();
  });
}
