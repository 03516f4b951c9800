// Elements that several views share.

import { el, svg } from "./dom.js";
import { ago, count, exact, score } from "./format.js";
import { linkHere } from "./place.js";

// The bands, best first, with the least score of each: those of schemas/bands.py.
export const BANDS = [
  { name: "excellent", least: 0.9 },
  { name: "good", least: 0.7 },
  { name: "fair", least: 0.5 },
  { name: "poor", least: 0 },
];

// The scores at which the band changes, the lowest first.
export const LEVELS = BANDS.map(({ least }) => least).slice(0, -1).reverse();

// The band of a score.
export const bandOf = (value) => BANDS.find(({ least }) => value >= least);

export function bandRange(band) {
  const above = BANDS[BANDS.indexOf(band) - 1];
  if (!above) return `${band.least} and above`;
  return band.least ? `${band.least} to ${above.least}` : `below ${above.least}`;
}

// The scorer's own dimensions. Any other dimension is shown by its name alone.
const KNOWN = new Map([
  ["completeness", { label: "Completeness", weight: "30 %" }],
  ["documentation", { label: "Documentation", weight: "25 %" }],
  ["compliance", { label: "Compliance", weight: "20 %" }],
  ["metadata_richness", { label: "Metadata richness", weight: "15 %" }],
  ["complexity", { label: "Complexity", weight: "10 %" }],
]);

export const dimensionLabel = (name) => KNOWN.get(name)?.label ?? name;
export const dimensionWeight = (name) => KNOWN.get(name)?.weight;

// As many small columns as fit beside a name.
const COLUMNS_MAX = 8;

// A pattern without a name is shown by its id.
export const isNamed = (pattern) => pattern.name !== pattern.pattern_id;

// The scorer's names have two parts, module:definition. Any other name is one part.
function nameParts(name) {
  const [, module, definition] = /^([\w.]+:)(\S+)$/.exec(name) ?? [];
  return module ? [el("span", { class: "module" }, module), el("span", {}, definition)] : [el("span", {}, name)];
}

export const patternLink = (pattern) =>
  el(
    "a",
    {
      class: isNamed(pattern) ? "name" : "name nameless",
      href: linkHere({ pattern: pattern.pattern_id }),
      "data-key": pattern.pattern_id,
      "data-tip": pattern.name.length > 40 ? pattern.name : null,
    },
    nameParts(pattern.name),
  );

// A topic may be a file's name in a right-to-left script. Its numbers must not become part of that text.
export const recordPlace = (topic, ...numbers) => [el("bdi", {}, topic), numbers.map((number) => `/${number}`).join("")];

export const time = (value) => el("time", { "data-tip": exact(value), datetime: String(value) }, ago(value));

export const bandBar = (pattern) =>
  svg(
    "svg",
    { class: `gauge ${pattern.band}`, viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "track", width: 100, height: 4 }),
    svg("rect", { class: "value", width: 100 * pattern.quality_score, height: 4 }),
  );

export const quality = (pattern) =>
  el("span", { class: "quality", "data-tip": `${pattern.band}: ${pattern.quality_score}` }, score(pattern.quality_score), bandBar(pattern));

// The number of dimensions that are not shown, in words.
export const leftOut = (pattern) => (pattern.dimensions_left_out ? [`and ${count(pattern.dimensions_left_out)} more`] : []);

// Small columns. A dimension that the scorer did not send is a dot.
export function dimensions(pattern) {
  if (!pattern.dimensions.length) return el("span", { class: "note", "data-tip": "The scorer sent no dimensions." }, "–");
  const texts = [...pattern.dimensions.map(({ name, value }) => `${dimensionLabel(name)} ${score(value)}`), ...leftOut(pattern)].join("\n");
  const drawn = pattern.dimensions.slice(0, COLUMNS_MAX);
  const width = drawn.length * 9 - 3;
  const columns = drawn.flatMap(({ value }, index) => {
    const x = index * 9;
    if (value === null) return [svg("circle", { class: "unknown", cx: x + 3, cy: 18, r: 1.5 })];
    return [
      svg("rect", { class: "track", x, y: 0, width: 6, height: 20, rx: 1 }),
      svg("rect", { class: "value", x, y: 20 - 20 * value, width: 6, height: 20 * value, rx: 1 }),
    ];
  });
  return svg(
    "svg",
    { class: "dimensions", viewBox: `0 0 ${width} 20`, width, height: 20, role: "img", "aria-label": texts.replaceAll("\n", ", "), "data-tip": texts },
    columns,
  );
}

// The part of the table that was read, if it was not all of it.
export function sampleNote(answer, rows) {
  if (answer.percent_read >= 100) return null;
  const part = answer.percent_read < 1 ? answer.percent_read.toPrecision(2) : answer.percent_read.toFixed(1);
  const read = rows ? ` (${count(rows)} rows)` : "";
  return el(
    "p",
    { class: "note sample" },
    `From a sample: ${part} % of the table${read}. To read all of it took longer than the 2 s that this page asks of the database at most.`,
  );
}

export const empty = (text) => el("p", { class: "empty" }, text);

export const panel = (title, ...children) => el("section", { class: "panel" }, el("h2", {}, title), ...children);

// A row whose cells carry the labels of their columns, for narrow screens, where a row is a card.
export function labelled(row, labels) {
  [...row.cells].forEach((cell, index) => (cell.dataset.label = labels[index]));
  return row;
}

const TYPING_MS = 250;

// A field whose text is applied once its user pauses.
export function searchField({ key, placeholder, maxlength, apply }) {
  let typing;
  const field = el("input", {
    type: "search",
    placeholder,
    maxlength,
    autocomplete: "off",
    spellcheck: "false",
    "data-key": key,
    input: () => {
      clearTimeout(typing);
      typing = setTimeout(() => apply(field.value), TYPING_MS);
    },
  });
  return field;
}
