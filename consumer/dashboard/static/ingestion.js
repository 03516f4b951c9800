// The progress of each partition, and the gaps.

import { ask } from "./api.js";
import { el, replace } from "./dom.js";
import { count, duration, rate } from "./format.js";
import { empty, panel, recordPlace, time } from "./parts.js";
import { traceForm, tracePart } from "./trace.js";
import { here } from "./place.js";

const unknown = (tip = "The end of the log is Kafka’s: only the worker that reads this partition knows it.") =>
  el("span", { class: "soft", "data-tip": tip, tabindex: "0" }, "not known here");

function cleared({ lag, seconds_until_clear: seconds, lag_change: change }) {
  if (lag === null) return unknown();
  if (lag === 0) return "caught up";
  if (seconds !== null) return `in ${duration(seconds)}`;
  return el("span", { class: "soft" }, change === null ? "being measured" : change > 0 ? "not while it grows" : "not while it stands still");
}

function partitionRow(one) {
  return el(
    "tr",
    {},
    el("th", { scope: "row", class: "number" }, String(one.partition)),
    el("td", { class: "number" }, one.next_offset === null ? "–" : count(BigInt(one.next_offset))),
    el("td", { class: "number" }, rate(one.per_second) ?? el("span", { class: "soft" }, "…")),
    el("td", { class: one.lag ? "number bad" : "number" }, one.lag === null ? unknown() : count(one.lag)),
    el("td", { class: "number" }, one.lag === null ? "–" : one.lag ? duration(one.lag_seconds) : "–"),
    el("td", {}, cleared(one)),
    el("td", {}, one.updated_at === null ? "–" : time(one.updated_at)),
  );
}

const COLUMNS = [
  ["Partition", "number", "Of the topic"],
  ["Next offset", "number", "The first one that is not written yet"],
  ["Offsets a second", "number", "Written, over the last minute"],
  ["Lag", "number", "Offsets between what is written and the end of the log"],
  ["Waiting", "number", "For how long the next record has been waiting since its timestamp"],
  ["Cleared", null, "If it goes on as in the last minute"],
  ["Last written", null, "When this partition’s progress was last written"],
];

function groupPart(group, topic, rows, worker) {
  const isOurs = worker !== null && worker.group === group && worker.topics.includes(topic);
  const head = el("tr", {}, COLUMNS.map(([label, look, tip]) => el("th", { scope: "col", class: look }, el("span", { "data-tip": tip, tabindex: "0" }, label))));
  return panel(
    el("span", {}, el("bdi", {}, group), el("span", { class: "soft" }, " reads ", el("bdi", {}, topic)), isOurs ? el("span", { class: "tag" }, "this worker’s") : null),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Partitions of ${group}` }, el("table", {}, el("thead", {}, head), el("tbody", {}, rows.map(partitionRow)))),
  );
}

function workerPart(worker) {
  if (worker === null) {
    return el("p", { class: "note" }, "This page is served against the database alone. It shows what is written, and how fast; lag, and when it is cleared, are on a worker’s own page.");
  }
  const obstacles = Object.entries(worker.obstacles);
  const { applied, superseded, dead_letter: dead } = worker.outcomes;
  return el(
    "div",
    {},
    obstacles.length
      ? el("ul", { class: "obstacles" }, obstacles.map(([component, why]) => el("li", {}, el("strong", {}, component), ` ${why}`)))
      : el("p", { class: "ready" }, "The worker is ready."),
    worker.clocks && el("p", { class: "note bad" }, `${worker.clocks}.`),
    el("p", { class: "note" }, `Since its start it has read ${count(applied + superseded + dead)} records: ${count(applied)} applied, ${count(superseded)} superseded, ${count(dead)} dead letters.`),
  );
}

function gapsPart({ gaps, offsets, latest }) {
  if (!gaps) return empty("None: every record was read.");
  const rows = latest.map((gap) =>
    el("tr", {}, el("td", {}, time(gap.noticed_at)), el("td", {}, gap.consumer_group), el("td", {}, recordPlace(gap.topic, gap.partition)), el("td", { class: "number" }, gap.first_offset), el("td", { class: "number" }, gap.last_offset), el("td", { class: "number" }, count(BigInt(gap.offsets))), el("td", {}, gap.reason)),
  );
  const labels = [["Noticed"], ["Group"], ["Partition"], ["First offset", "number"], ["Last offset", "number"], ["Offsets", "number"], ["Reason"]];
  return el(
    "div",
    {},
    el("p", { class: "note" }, `${count(gaps)} in all, ${count(BigInt(offsets))} offsets that were not read, or whose records the topic has lost.`),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Gaps" }, el("table", {}, el("thead", {}, el("tr", {}, labels.map(([label, look]) => el("th", { scope: "col", class: look }, label)))), el("tbody", {}, rows))),
  );
}

export function ingestionView(content) {
  const about = el("div", {});
  const groups = el("div", {});
  const gaps = el("div", {});
  const traced = el("div", { role: "status" });
  const form = traceForm();
  content.replaceChildren(el("h1", { class: "unseen" }, "Ingestion"), about, groups, panel("Gaps", gaps), panel("What became of an event", form.form, traced));
  return {
    place: form.place,
    async refresh() {
      const { event, pattern } = here().parameters;
      const [{ worker, partitions }, lost, found] = await Promise.all([ask("v1/progress"), ask("v1/gaps"), event ? ask(`v1/events/${encodeURIComponent(event)}`, { pattern }) : null]);
      replace(traced, tracePart(found));
      const byGroup = new Map();
      for (const one of partitions) {
        const key = JSON.stringify([one.consumer_group, one.topic]);
        byGroup.set(key, [...(byGroup.get(key) ?? []), one]);
      }
      replace(about, workerPart(worker));
      replace(groups, byGroup.size ? [...byGroup].map(([key, rows]) => groupPart(...JSON.parse(key), rows, worker)) : empty("No group has written anything yet."));
      replace(gaps, gapsPart(lost));
    },
  };
}
