// One pattern: its scores, their history, and its row as it is stored.

import { ask } from "./api.js";
import { el, replace, svg } from "./dom.js";
import { count, exact, moment, score } from "./format.js";
import { bandBar, dimensionLabel, dimensionWeight, empty, isNamed, LEVELS, leftOut, time } from "./parts.js";

const TREND_ROWS_MAX = 500;

export function heading(title, note) {
  return el(
    "header",
    {},
    el("div", {}, el("h2", { id: "detail-title" }, title), el("p", { class: "note" }, note)),
    el("button", { type: "button", class: "close", "data-close": true, "aria-label": "Close", "data-key": "close" }, "×"),
  );
}

function dimensionRows(pattern) {
  if (!pattern.dimensions.length) return empty("The scorer sent no dimensions.");
  return el(
    "ul",
    { class: "bars" },
    pattern.dimensions.map(({ name, value }) => {
      const label = dimensionLabel(name);
      const weight = dimensionWeight(name);
      const bar = svg(
        "svg",
        { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
        svg("rect", { class: "track", width: 100, height: 6 }),
        svg("rect", { class: "value", width: 100 * (value ?? 0), height: 6 }),
      );
      return el("li", { "data-tip": weight ? `${label} is ${weight} of the score` : null }, el("span", {}, label), bar, el("span", { class: "number" }, score(value)));
    }),
    leftOut(pattern).map((text) => el("li", { class: "note" }, text)),
  );
}

function chart(trend) {
  const points = trend
    .map((one) => ({ at: moment(one.measurement_timestamp)?.getTime(), ...one }))
    .filter((one) => one.at !== undefined)
    .reverse();
  const first = points[0].at;
  const span = Math.max(1, points.at(-1).at - first);
  const x = (one) => (400 * (one.at - first)) / span;
  const y = (one) => 100 - 100 * one.quality_score;
  const line = points.map((one, index) => `${index ? "L" : "M"}${x(one).toFixed(2)} ${y(one).toFixed(2)}`).join("");
  const gaps = points.map((one, index) => {
    const left = index ? (x(points[index - 1]) + x(one)) / 2 : 0;
    const right = index < points.length - 1 ? (x(one) + x(points[index + 1])) / 2 : 400;
    const tip = `${score(one.quality_score)}\n${exact(one.measurement_timestamp)}\nversion ${one.version}`;
    return svg(
      "g",
      { class: "point", "data-tip": tip },
      svg("rect", { class: "hit", x: left, y: 0, width: Math.max(0.1, right - left), height: 100 }),
      svg("path", { class: "dot", d: `M${x(one).toFixed(2)} ${y(one).toFixed(2)}h0` }),
    );
  });
  const levels = LEVELS.map((level) => svg("path", { class: "level", d: `M0 ${100 - 100 * level}H400` }));
  return el(
    "figure",
    { class: "trend" },
    svg(
      "svg",
      { viewBox: "0 0 400 100", preserveAspectRatio: "none", role: "img", "aria-label": `${points.length} measurements, the latest ${score(points.at(-1).quality_score)}` },
      levels,
      svg("path", { class: "line", d: line }),
      gaps,
    ),
    el("div", { class: "levels", "aria-hidden": "true" }, [0, ...LEVELS, 1].map((level) => el("span", { style: { bottom: `${100 * level}%` } }, level === 0 || level === 1 ? String(level) : level.toFixed(1)))),
    el("figcaption", {}, el("span", {}, exact(first / 1000).slice(0, 16)), el("span", {}, exact(points.at(-1).at / 1000).slice(0, 16))),
  );
}

function isRetirement(one) {
  return one.quality_score === null;
}

function trendPart({ rows: trend, next: isCut, history_enabled: isEnabled }) {
  const measured = trend.filter((one) => !isRetirement(one));
  if (measured.length > 1) {
    const rows = trend.map((one) => el("tr", {}, el("td", {}, exact(one.measurement_timestamp)), ...(isRetirement(one) ? [el("td", { colspan: 3 }, "retired", one.reason ? ": " : null, el("bdi", {}, one.reason))] : [el("td", { class: "number" }, score(one.quality_score)), el("td", { class: "number" }, score(one.confidence)), el("td", {}, one.version)])));
    const labels = ["Measured", "Quality", "Confidence", "Version"].map((label, index) => el("th", { scope: "col", class: index % 3 ? "number" : null }, label));
    return [
      chart(measured),
      el("details", {}, el("summary", { "data-key": "measurements" }, isCut ? `The latest ${count(trend.length)} events` : `${count(measured.length)} measurements`), el("table", {}, el("thead", {}, el("tr", {}, labels)), el("tbody", {}, rows))),
    ];
  }
  const why =
    isEnabled === false
      ? "The history is off here: HISTORY_ENABLED is false, so the worker keeps the latest measurement of each pattern alone."
      : isEnabled
        ? "So far there is no other measurement of this pattern in the history."
        : "The history holds no other measurement of this pattern. A worker keeps them where HISTORY_ENABLED is true.";
  return [empty(why)];
}

function storedRow({ stored, metadata, metadata_is_cut: isCut }) {
  const fields = Object.entries(stored).map(([name, value]) => [el("dt", {}, name), el("dd", {}, value === null ? "null" : String(value))]);
  return [
    el("dl", { class: "fields" }, ...fields.flat()),
    el("h4", {}, "metadata"),
    el("pre", { tabindex: "0", "aria-label": "metadata" }, metadata ?? "null"),
    isCut ? el("p", { class: "note" }, "Cut off here.") : null,
  ];
}

function showRetired(box, pattern, history) {
  replace(
    box,
    heading(pattern.name, isNamed(pattern) ? pattern.pattern_id : "has no name"),
    el("p", { class: "note" }, "Retired ", time(pattern.retired_at), pattern.reason ? ": " : null, el("bdi", {}, pattern.reason)),
    pattern.quality_score === null ? null : el("p", { class: "note" }, `last quality ${score(pattern.quality_score)} · confidence ${score(pattern.confidence)} · measured `, time(pattern.measurement_timestamp)),
    el("h3", {}, "Trend"),
    trendPart(history),
  );
}

export function openPattern(dialog, id) {
  const box = el("article", {}, heading("…", id));
  dialog.replaceChildren(box);
  let shown = "";
  return {
    async refresh() {
      let pattern, history;
      try {
        const path = `v1/patterns/${encodeURIComponent(id)}`;
        [pattern, history] = await Promise.all([ask(path), ask(`${path}/history`, { limit: TREND_ROWS_MAX })]);
      } catch (error) {
        if (error.kind === "retired") return showRetired(box, error.retired, await ask(`v1/patterns/${encodeURIComponent(id)}/history`, { limit: TREND_ROWS_MAX }));
        if (error.kind !== "absent" && error.kind !== "request") throw error;
        replace(box, heading("There is no such pattern", id));
        return;
      }
      const found = JSON.stringify([pattern, history]);
      if (found === shown) return; // keeps unfolded parts open
      shown = found;
      replace(
        box,
        heading(pattern.name, isNamed(pattern) ? pattern.pattern_id : "has no name"),
        el("div", { class: "score" }, el("strong", {}, score(pattern.quality_score)), el("span", { class: `band-label ${pattern.band}` }, pattern.band), bandBar(pattern), el("p", { class: "note" }, `confidence ${score(pattern.confidence)} · version `, el("bdi", {}, pattern.version ?? "–"), " · measured ", time(pattern.measurement_timestamp))),
        el("h3", {}, "Dimensions"),
        dimensionRows(pattern),
        el("h3", {}, "Trend"),
        trendPart(history),
        el("h3", {}, "The row"),
        storedRow(pattern),
      );
    },
  };
}
