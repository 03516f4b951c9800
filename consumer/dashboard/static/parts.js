// What several views show.

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

export function bandRange(band) {
  const above = BANDS[BANDS.indexOf(band) - 1];
  if (!above) return `${band.least} and above`;
  return band.least ? `${band.least} to ${above.least}` : `below ${above.least}`;
}

export const DIMENSIONS = [
  { name: "completeness", label: "Completeness", weight: "30 %" },
  { name: "documentation", label: "Documentation", weight: "25 %" },
  { name: "compliance", label: "Compliance", weight: "20 %" },
  { name: "metadata_richness", label: "Metadata richness", weight: "15 %" },
  { name: "complexity", label: "Complexity", weight: "10 %" },
];

// A name of spaces alone cannot be seen, nor clicked on.
export const nameOf = (pattern) => (/[^\p{Zs}\n\t]/u.test(pattern.name ?? "") ? pattern.name : "no name");

// The scorer's own names are module:definition; of any other there is one part.
function nameParts(name) {
  const [, module, definition] = /^([\w.]+:)(\S+)$/.exec(name) ?? [];
  return module ? [el("span", { class: "module" }, module), el("span", {}, definition)] : [el("span", {}, name)];
}

export const patternLink = (pattern) =>
  el(
    "a",
    {
      class: nameOf(pattern) === pattern.name ? "name" : "name nameless",
      href: linkHere({ pattern: pattern.pattern_id }),
      "data-key": pattern.pattern_id,
      "data-tip": pattern.name && pattern.name.length > 40 ? pattern.name : null,
    },
    nameParts(nameOf(pattern)),
  );

// A topic may be a file's name, in a script that runs from the right: its numbers must not be drawn into that.
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

// Five small columns; a dimension that the scorer did not tell is a dot.
export function dimensions(pattern) {
  const told = DIMENSIONS.map(({ name, label }) => `${label} ${score(pattern[name])}`).join("\n");
  const columns = DIMENSIONS.flatMap(({ name }, index) => {
    const value = pattern[name];
    const x = index * 9;
    if (value === null || value === undefined) return [svg("circle", { class: "unknown", cx: x + 3, cy: 18, r: 1.5 })];
    return [
      svg("rect", { class: "track", x, y: 0, width: 6, height: 20, rx: 1 }),
      svg("rect", { class: "value", x, y: 20 - 20 * value, width: 6, height: 20 * value, rx: 1 }),
    ];
  });
  return svg(
    "svg",
    { class: "dimensions", viewBox: "0 0 42 20", width: 42, height: 20, role: "img", "aria-label": told.replaceAll("\n", ", "), "data-tip": told },
    columns,
  );
}

// What part of the table was read; said only where it was not all of it.
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
