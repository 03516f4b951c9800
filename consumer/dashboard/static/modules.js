// The patterns by the parts of their names: package, module, definition.

import { ask } from "./api.js";
import { el, replace, svg, walkWithArrows } from "./dom.js";
import { count, counted, score, short, signed } from "./format.js";
import { bandOf, BANDS, empty, labelled, sampleNote, searchField } from "./parts.js";
import { go, here, link, linkHere } from "./place.js";
import { squarified } from "./treemap.js";

const TILES_MAX = 60;
// The width of the treemap by its height, about, so that its tiles are as square as can be.
const aspect = () => (matchMedia("(max-width: 640px)").matches ? 0.8 : 3.8);
const NAME_END = /[.:/]$/;

const COLUMNS = [
  { label: "Part", key: "part", of: (row) => row.part ?? "" },
  { label: "Patterns", key: "patterns", look: "number", sort: "descending", of: (row) => -row.patterns },
  { label: "Mean", key: "mean", look: "number", of: (row) => row.mean },
  { label: "Bands" },
  { label: "Worst", key: "worst", look: "number", of: (row) => row.worst },
  { label: "Change", key: "change", look: "number", of: (row) => row.change ?? 0 },
];
const DEFAULT_ORDER = "patterns";

const NAMELESS = "without a name";

// A part is the prefix of the next rollup, one pattern, or several patterns of one name.
function hrefOf(row, prefix) {
  if (row.part === null) return link("patterns", { order: "name" });
  if (row.pattern_id) return linkHere({ pattern: row.pattern_id });
  if (NAME_END.test(row.part) && row.part !== prefix) return link("modules", { prefix: row.part, by: here().parameters.by });
  return link("patterns", { search: row.part });
}

const shortName = (row, prefix) => (row.part?.trim() ? row.part.slice(prefix.length) || row.part : NAMELESS);

function bandsBar({ bands }) {
  const total = Math.max(1, BANDS.reduce((sum, { name }) => sum + (bands[name] ?? 0), 0));
  const texts = BANDS.map(({ name }) => `${name} ${count(bands[name] ?? 0)}`);
  let at = 0;
  const parts = BANDS.map(({ name }) => {
    const width = (100 * (bands[name] ?? 0)) / total;
    at += width;
    return svg("rect", { class: `bar ${name}`, x: at - width, width, height: 8 });
  });
  return svg("svg", { class: "band-bar", viewBox: "0 0 100 8", preserveAspectRatio: "none", role: "img", "aria-label": texts.join(", "), "data-tip": texts.join("\n") }, parts);
}

const changeOf = (value) => (value === null ? "–" : el("span", { class: value > 0 ? "change up" : value < 0 ? "change down" : "change" }, signed(value)));

function tableRow(row, prefix) {
  const href = hrefOf(row, prefix);
  const worst = row.part === null ? score(row.worst) : el("a", { href: link("patterns", { search: row.part, order: "worst" }) }, score(row.worst));
  return labelled(
    el(
      "tr",
      { click: (event) => event.target.closest("a") || go(href) },
      el("td", { class: "main" }, el("a", { href, class: row.part === null ? "nameless" : null, "data-key": row.part ?? NAMELESS }, shortName(row, prefix))),
      el("td", { class: "number" }, count(row.patterns)),
      el("td", { class: "number" }, score(row.mean)),
      el("td", {}, bandsBar(row)),
      el("td", { class: "number" }, worst),
      el("td", { class: "number" }, changeOf(row.change)),
    ),
    COLUMNS.map(({ label }) => label),
  );
}

function treemap(rows, prefix) {
  const tiles = [...rows].sort((a, b) => b.patterns - a.patterns).slice(0, TILES_MAX);
  const ratio = aspect();
  const places = squarified(tiles.map((row) => row.patterns), 100 * ratio, 100);
  return el(
    "div",
    { class: "treemap", role: "group", "aria-label": "Parts by number of patterns, coloured by mean quality" },
    tiles.map((row, index) => {
      const { x, y, width, height } = places[index];
      const style = { left: `${x / ratio}%`, top: `${y}%`, width: `${width / ratio}%`, height: `${height}%` };
      const name = shortName(row, prefix);
      const tip = `${row.part ?? NAMELESS}\n${counted(row.patterns, "pattern")}\nmean ${score(row.mean)}, worst ${score(row.worst)}`;
      return el("a", { class: `tile ${bandOf(row.mean).name}`, style, href: hrefOf(row, prefix), tabindex: "-1", "aria-label": row.part ?? NAMELESS, "data-tip": tip }, el("span", {}, name), el("span", { class: "mean" }, score(row.mean)));
    }),
  );
}

function crumbs(prefix) {
  const ends = [...prefix.matchAll(/[.:/]/g)].map(({ index }) => index + 1);
  const steps = [0, ...ends, ...(ends.at(-1) === prefix.length || !prefix ? [] : [prefix.length])];
  return el(
    "nav",
    { class: "crumbs", "aria-label": "Path" },
    steps.map((end, index) => {
      const text = end ? prefix.slice(steps[index - 1], end) : "all";
      const isLast = index === steps.length - 1;
      return isLast ? el("span", { "aria-current": "page" }, text) : el("a", { href: link("modules", { prefix: prefix.slice(0, end), by: here().parameters.by }) }, text);
    }),
  );
}

function totals(answer) {
  const about = answer.percent_read < 100 ? "about " : "";
  const change = answer.change === null ? "" : `, ${signed(answer.change)} in ${answer.change_days} days`;
  return `${about}${counted(answer.patterns, "pattern")}, mean ${score(answer.mean)}, worst ${score(answer.worst)}${change}`;
}

function headings(by) {
  return el(
    "tr",
    {},
    COLUMNS.map(({ label, key, look, sort = "ascending" }) => el("th", { scope: "col", class: look, "aria-sort": key === by ? sort : null }, key ? el("a", { href: linkHere({ by: key }), "data-key": `by ${key}` }, label) : label)),
  );
}

export function modulesView(content) {
  const field = searchField({
    key: "prefix",
    placeholder: "The beginning of the names, such as shop.cart:",
    maxlength: 1000,
    apply: (prefix) => go(linkHere({ prefix }), { replacing: true }),
  });
  const head = el("thead", {});
  const body = el("tbody", {});
  const table = el("table", { class: "parts cards" }, el("caption", { class: "unseen" }, "Parts of the names"), head, body);
  const path = el("div", {});
  const map = el("div", {});
  const below = el("div", { class: "below" });
  walkWithArrows(body);
  content.replaceChildren(el("h1", { class: "unseen" }, "Modules"), el("search", { class: "filters" }, el("label", { class: "grow" }, el("span", {}, "Prefix"), field)), path, map, table, below);
  return {
    place(parameters) {
      if (document.activeElement !== field) field.value = parameters.prefix ?? "";
    },
    async refresh() {
      const { prefix = "", by = DEFAULT_ORDER } = here().parameters;
      const answer = await ask("v1/rollup", { prefix });
      const column = COLUMNS.find(({ key }) => key === by) ?? COLUMNS[1];
      const order = (a, b) => (column.of(a) < column.of(b) ? -1 : column.of(a) > column.of(b) ? 1 : 0);
      const rows = [...answer.rows].sort(order);
      replace(path, crumbs(prefix), answer.rows.length ? el("p", { class: "note", role: "status" }, totals(answer)) : null, sampleNote(answer));
      replace(map, answer.rows.length > 1 ? treemap(answer.rows, prefix) : null);
      table.hidden = !rows.length;
      replace(head, headings(column.key));
      replace(body, rows.map((row) => tableRow(row, prefix)));
      const rest = answer.parts - answer.rows.length;
      replace(below, rows.length ? el("p", { class: "note" }, rest > 0 ? `The ${count(rows.length)} largest of ${short(answer.parts)} parts.` : counted(rows.length, "part")) : empty(prefix ? "No name begins so." : "No patterns yet."));
    },
  };
}
