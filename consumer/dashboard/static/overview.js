// The overview.

import { ask } from "./api.js";
import { el, replace, svg, walkWithArrows } from "./dom.js";
import { count, counted, duration, percent, rate, score, short, signed } from "./format.js";
import { bandRange, BANDS, dimensions, empty, LEVELS, panel, patternLink, quality, sampleNote, time } from "./parts.js";
import { lastHour } from "./lasthour.js";
import { link } from "./place.js";
import { trendOfAll } from "./trend.js";

const LIST_ROWS = 8;

function figure(label, value, note, href, isBad) {
  const inside = [el("dt", {}, label), el("dd", { class: isBad ? "bad" : null }, value), el("dd", { class: "note" }, note)];
  return href ? el("a", { class: "figure", href, "data-key": label }, ...inside) : el("div", { class: "figure" }, ...inside);
}

function workFigures({ worker, partitions }) {
  if (worker === null) {
    const rates = partitions.map((one) => one.per_second).filter((one) => one !== null);
    const total = rates.length ? rate(rates.reduce((sum, one) => sum + one, 0)) : null;
    return [
      figure("Lag", "–", "not known here: see a worker’s own page", link("ingestion")),
      figure("Offsets written a second", total ?? "–", total ? "of all groups, last minute" : "being measured", link("ingestion")),
    ];
  }
  const clear = worker.seconds_until_clear;
  const until = worker.lag === 0 ? "caught up" : clear === null ? "no estimate yet" : `cleared in ${duration(clear)}`;
  const pace = rate(worker.records_per_second);
  return [
    figure("Lag of this worker", worker.lag === null ? "–" : short(worker.lag), worker.lag === null ? "not known yet" : until, link("ingestion"), worker.lag > 0),
    figure("Records a second", pace ?? "–", pace ? "of this worker, last minute" : "being measured", link("ingestion")),
  ];
}

function figures(distribution, progress, letters, gaps) {
  const open = letters.reasons.reduce((sum, one) => sum + one.letters, 0);
  const about = distribution.percent_read < 100 ? "about " : "";
  const oldest = Math.min(...letters.reasons.map((one) => one.oldest));
  return [
    figure("Patterns", about + short(distribution.patterns), "one current row each", link("patterns")),
    figure("Mean quality", score(distribution.mean), about ? "of the sample" : "of all patterns", link("patterns", { order: "best" })),
    ...workFigures(progress),
    figure("Open dead letters", (letters.percent_read < 100 ? "about " : "") + short(open), open ? ["the oldest ", time(oldest)] : "none is open", link("dead-letters"), open > 0),
    figure("Gaps", count(gaps.gaps), gaps.gaps ? `${count(gaps.offsets)} offsets lost` : "nothing was lost", link("ingestion"), gaps.gaps > 0),
  ];
}

function histogram(distribution) {
  const bars = Array.from({ length: 40 }, () => ({ patterns: 0, band: "" }));
  for (const { bucket, band, patterns } of distribution.buckets) {
    bars[bucket].patterns += patterns;
    bars[bucket].band = band;
  }
  const most = Math.max(1, ...bars.map((bar) => bar.patterns));
  const drawn = bars.map(({ patterns, band }, index) => {
    const height = patterns ? Math.max(1, (100 * patterns) / most) : 0;
    const range = `${(index / 40).toFixed(3)} to ${((index + 1) / 40).toFixed(3)}`;
    return svg(
      "g",
      { "data-tip": `${range}\n${counted(patterns, "pattern")}` },
      svg("rect", { class: "hit", x: index * 10, y: 0, width: 10, height: 100 }),
      svg("rect", { class: `bar ${band}`, x: index * 10 + 0.75, y: 100 - height, width: 8.5, height }),
    );
  });
  const shares = BANDS.map(({ name }) => `${name} ${count(distribution.bands[name] ?? 0)}`).join(", ");
  return el(
    "figure",
    { class: "histogram" },
    svg("svg", { viewBox: "0 0 400 100", preserveAspectRatio: "none", role: "img", "aria-label": `Patterns by quality: ${shares}` }, drawn),
    el(
      "div",
      { class: "axis", "aria-hidden": "true" },
      [0, ...LEVELS, 1].map((at) => el("span", { style: { left: `${100 * at}%` } }, at === 0 || at === 1 ? String(at) : at.toFixed(1))),
    ),
  );
}

function bandRows(distribution) {
  const all = Math.max(1, distribution.patterns);
  return el(
    "ul",
    { class: "bands" },
    BANDS.map((band) => {
      const { name } = band;
      const patterns = distribution.bands[name] ?? 0;
      return el(
        "li",
        {},
        el(
          "a",
          { href: link("patterns", { band: name }), "data-key": name, "data-tip": `Quality ${bandRange(band)}` },
          el("span", { class: `swatch ${name}` }),
          el("span", { class: "band-name" }, name),
          el("span", { class: "number" }, count(patterns)),
          el("span", { class: "number soft" }, percent(patterns, all)),
        ),
      );
    }),
  );
}

const row = (pattern, value) => el("li", {}, patternLink(pattern), dimensions(pattern), value);

function list(answer, valueOf, whenEmpty) {
  if (!answer.rows.length) return empty(whenEmpty);
  return el("ol", { class: "ranking" }, answer.rows.map((pattern) => row(pattern, valueOf(pattern))));
}

function change(pattern) {
  const direction = pattern.change > 0 ? "up" : "down";
  const tip = `from ${score(pattern.earlier_quality_score)} to ${score(pattern.quality_score)}`;
  return el("span", { class: `change ${direction}`, "data-tip": tip }, signed(pattern.change));
}

function rankings({ best, worst, changed }) {
  const unchanged = changed.has_history
    ? "No pattern’s score has changed."
    : "No history is kept: a worker keeps every measurement where HISTORY_ENABLED is true.";
  return [
    panel("Best", list(best, quality, "No patterns yet."), sampleNote(best)),
    panel("Worst", list(worst, quality, "No patterns yet."), sampleNote(worst)),
    panel("Most changed", list(changed, change, unchanged), sampleNote(changed)),
  ];
}

export function overviewView(content) {
  const strip = el("dl", { class: "figures", "aria-label": "Key figures" });
  const spread = el("div", {});
  const hour = el("div", {});
  const weeks = el("div", {});
  const ranks = el("div", { class: "columns" });
  walkWithArrows(ranks);
  content.replaceChildren(el("h1", { class: "unseen" }, "Overview"), strip, panel("The last hour", hour), spread, panel("Week by week", weeks), ranks);
  return {
    async refresh() {
      const [distribution, progress, letters, gaps, readings] = await Promise.all([
        ask("v1/distribution"),
        ask("v1/progress"),
        ask("v1/dead-letters/summary"),
        ask("v1/gaps"),
        ask("v1/last-hour"),
      ]);
      replace(hour, lastHour(readings, progress.worker !== null));
      replace(strip, figures(distribution, progress, letters, gaps));
      const shown = distribution.patterns
        ? [el("div", { class: "spread" }, histogram(distribution), bandRows(distribution)), sampleNote(distribution, distribution.rows_read)]
        : [empty("No patterns yet. Publish one: pattern-metrics score src/ | pattern-metrics publish -")];
      replace(spread, panel("Quality", ...shown.filter(Boolean)));
      const [trend, best, worst, changed] = await Promise.all([
        ask("v1/trend"),
        ask("v1/patterns", { order: "best", limit: LIST_ROWS }),
        ask("v1/patterns", { order: "worst", limit: LIST_ROWS }),
        ask("v1/changes", { limit: LIST_ROWS }),
      ]);
      replace(weeks, trendOfAll(trend));
      replace(ranks, rankings({ best, worst, changed }));
    },
  };
}
