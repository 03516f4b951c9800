// All patterns: search, filter, sort, page by page.

import { ask } from "./api.js";
import { el, replace, walkWithArrows } from "./dom.js";
import { counted, score } from "./format.js";
import { BANDS, dimensions, empty, isNamed, labelled, patternLink, quality, sampleNote, searchField, time } from "./parts.js";
import { go, here, linkHere } from "./place.js";

const ORDERS = {
  best: "Best first",
  worst: "Worst first",
  newest: "Newest measurement first",
  oldest: "Oldest measurement first",
  unsure: "Least sure first",
  name: "By name",
  id: "By pattern id",
};
const previousPages = new Map();

// A column's heading sorts by the column, and then in the opposite order.
const HEADINGS = [
  { label: "Pattern", orders: ["name"] },
  { label: "Quality", orders: ["best", "worst"], class: "number" },
  { label: "Dimensions", orders: [] },
  { label: "Confidence", orders: ["unsure"], class: "number" },
  { label: "Version", orders: [] },
  { label: "Measured", orders: ["newest", "oldest"] },
];
const SORTED = { best: "descending", newest: "descending", worst: "ascending", oldest: "ascending", unsure: "ascending", name: "ascending" };

const RETIRED = "retired";

const change = (changes, options) => go(linkHere({ after: "", ...changes }), options);

function select(label, key, options) {
  const choice = el("select", { "data-key": key, change: () => change({ [key]: choice.value }) });
  const fillWith = (entries) => choice.replaceChildren(...entries.map(([value, text]) => el("option", { value }, text)));
  fillWith(options);
  return { label: el("label", {}, el("span", {}, label), choice), choice, fillWith };
}

function headings(order) {
  return el(
    "tr",
    {},
    HEADINGS.map(({ label, orders, class: look }) => {
      const isSorted = orders.includes(order);
      const next = isSorted ? orders[(orders.indexOf(order) + 1) % orders.length] : orders[0];
      const inside = next ? el("a", { href: linkHere({ order: next, after: "" }), "data-key": `by ${label}` }, label) : label;
      return el("th", { scope: "col", class: look, "aria-sort": isSorted ? SORTED[order] : null }, inside);
    }),
  );
}

function tableRow(pattern) {
  const row = el(
    "tr",
    { click: (event) => event.target.closest("a") || go(linkHere({ pattern: pattern.pattern_id })) },
    el("td", { class: "main" }, patternLink(pattern), isNamed(pattern) && el("span", { class: "id" }, pattern.pattern_id), pattern.reason && el("span", { class: "id" }, pattern.reason)),
    el("td", { class: "number" }, pattern.quality_score === null ? "–" : quality(pattern)),
    el("td", {}, dimensions(pattern)),
    el("td", { class: "number" }, pattern.confidence === null ? "–" : score(pattern.confidence)),
    el("td", { class: "version" }, pattern.version ?? "–"),
    el("td", {}, pattern.retired_at ? ["retired ", time(pattern.retired_at)] : time(pattern.measurement_timestamp)),
  );
  return labelled(row, HEADINGS.map(({ label }) => label));
}

const atPage = (after) => linkHere({ after, pattern: "" });

// The database can only return the next page. A tab remembers the earlier ones, because they would make an
// address too long.
function pager(answer, parameters) {
  const current = atPage(parameters.after);
  const next = answer.next && atPage(answer.next);
  const [back, previous] = parameters.after && !previousPages.has(current) ? ["← First page", atPage("")] : ["← Previous", previousPages.get(current)];
  const step = (text, href, rel, click) =>
    href ? el("a", { class: "step", href, "data-key": rel, rel, click }, text) : el("span", { class: "step off", "aria-disabled": "true" }, text);
  return el("nav", { class: "pager", "aria-label": "Pages" }, step(back, previous, "prev"), step("Next →", next, "next", () => previousPages.set(next, current)));
}

function summary(answer, parameters) {
  const rows = answer.rows.length;
  if (!rows) return "";
  if (!answer.next && !parameters.after) return counted(rows, "pattern");
  return answer.next ? `${counted(rows, "pattern")} on this page, more follow` : `${counted(rows, "pattern")} on this last page`;
}

export function patternsView(content) {
  const field = searchField({
    key: "search",
    placeholder: "Name, or the first 8 digits of an id",
    maxlength: 200,
    apply: (search) => change({ search }, { replacing: true }),
  });
  const band = select("Band", "band", [["", "All bands"], ...BANDS.map(({ name }) => [name, name]), [RETIRED, RETIRED]]);
  const version = select("Version", "version", [["", "All versions"]]);
  const order = select("Order", "order", Object.entries(ORDERS));
  const head = el("thead", {});
  const body = el("tbody", {});
  const table = el("table", { class: "patterns cards" }, el("caption", { class: "unseen" }, "Patterns"), head, body);
  const around = el("div", {});
  const below = el("div", { class: "below" });
  walkWithArrows(body);
  content.replaceChildren(
    el("h1", { class: "unseen" }, "Patterns"),
    el("search", { class: "filters" }, el("label", { class: "grow" }, el("span", {}, "Search"), field), band.label, version.label, order.label),
    around,
    table,
    below,
  );
  document.onkeydown = (event) => {
    if (event.key !== "/" || !field.isConnected || event.target.closest("input, select, dialog")) return;
    event.preventDefault();
    field.focus();
  };
  return {
    place(parameters) {
      if (document.activeElement !== field) field.value = parameters.search ?? "";
      band.choice.value = parameters.band ?? "";
      order.choice.value = parameters.order ?? "best";
    },
    async refresh() {
      const { parameters } = here();
      const { search, band: ofBand, version: ofVersion, order: by = "best", after } = parameters;
      const [answer, { versions }] = await Promise.all([
        ofBand === RETIRED ? ask("v1/retired", { after }) : ask("v1/patterns", { name: search, band: ofBand, version: ofVersion, order: by, after }),
        ask("v1/distribution"),
      ]);
      const names = new Set([...versions.map((one) => one.version), ...(ofVersion ? [ofVersion] : [])].filter(Boolean));
      if (document.activeElement !== version.choice) {
        version.fillWith([["", "All versions"], ...[...names].sort().map((name) => [name, name])]);
        version.choice.value = ofVersion ?? "";
      }
      replace(head, headings(ofBand === RETIRED ? "id" : by));
      replace(body, answer.rows.map(tableRow));
      table.hidden = !answer.rows.length;
      replace(around, sampleNote(answer));
      const nothing = answer.percent_read < 100 ? "Nothing in this sample. By its id a pattern is always found." : "No pattern is like that.";
      replace(below, el("p", { class: "note", role: "status" }, answer.rows.length ? summary(answer, parameters) : nothing), pager(answer, parameters));
    },
  };
}
