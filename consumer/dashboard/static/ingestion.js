// The progress of each partition, and the gaps.

import { ask } from "./api.js";
import { el, replace } from "./dom.js";
import { count, duration, rate } from "./format.js";
import { empty, labelled, panel, recordPlace, time } from "./parts.js";
import { traceForm, traceOf, tracePart } from "./trace.js";
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
  const row = el(
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
  return labelled(row, COLUMNS.map(([label]) => label));
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

const IDLE_SECONDS = 3600;

const isOurs = (worker, group, topic) => worker !== null && worker.group === group && worker.topics.includes(topic);

// The worker's own group first, then the groups that wrote last. A group that wrote nothing for an hour, such as that of a
// finished replay, is folded away.
function groupParts({ worker, partitions, now }) {
  const groups = new Map();
  for (const one of partitions) {
    const key = JSON.stringify([one.consumer_group, one.topic]);
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  const parts = [...groups].map(([key, rows]) => {
    const [group, topic] = JSON.parse(key);
    const ours = isOurs(worker, group, topic);
    const isIdle = !ours && rows.every((row) => now - (row.updated_at ?? now) > IDLE_SECONDS);
    return { group, topic, rows, ours, isIdle };
  });
  const draw = ({ group, topic, rows, ours }) => groupPart(group, topic, rows, ours);
  const busy = [...parts.filter((part) => part.ours), ...parts.filter((part) => !part.ours && !part.isIdle)];
  const idle = parts.filter((part) => part.isIdle);
  const isOpen = document.querySelector("details.idle")?.open;
  return [
    ...busy.map(draw),
    idle.length ? el("details", { class: "idle", open: isOpen }, el("summary", { "data-key": "idle" }, idle.length === 1 ? "1 group that wrote nothing for an hour" : `${count(idle.length)} groups that wrote nothing for an hour`), idle.map(draw)) : null,
  ];
}

function groupPart(group, topic, rows, ours) {
  const head = el("tr", {}, COLUMNS.map(([label, look, tip]) => el("th", { scope: "col", class: look }, el("span", { "data-tip": tip, tabindex: "0" }, label))));
  return panel(
    el("span", {}, el("bdi", {}, group), el("span", { class: "soft" }, " reads ", el("bdi", {}, topic)), ours ? el("span", { class: "tag" }, "this worker’s") : null),
    el("table", { class: "partitions cards", "aria-label": `Partitions of ${group}` }, el("thead", {}, head), el("tbody", {}, rows.map(partitionRow))),
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
  const labels = [["Noticed"], ["Group"], ["Partition"], ["First offset", "number"], ["Last offset", "number"], ["Offsets", "number"], ["Reason"]];
  const rows = latest.map((gap) =>
    labelled(el("tr", {}, el("td", {}, time(gap.noticed_at)), el("td", {}, gap.consumer_group), el("td", {}, recordPlace(gap.topic, gap.partition)), el("td", { class: "number" }, gap.first_offset), el("td", { class: "number" }, gap.last_offset), el("td", { class: "number" }, count(BigInt(gap.offsets))), el("td", {}, gap.reason)), labels.map(([label]) => label)),
  );
  return el(
    "div",
    {},
    el("p", { class: "note" }, `${count(gaps)} in all, ${count(BigInt(offsets))} offsets that were not read, or whose records the topic has lost.`),
    el("table", { class: "gaps cards", "aria-label": "Gaps" }, el("thead", {}, el("tr", {}, labels.map(([label, look]) => el("th", { scope: "col", class: look }, label)))), el("tbody", {}, rows)),
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
      const [progress, lost, found] = await Promise.all([ask("v1/progress"), ask("v1/gaps"), event ? traceOf(event, pattern) : null]);
      replace(traced, tracePart(found));
      replace(about, workerPart(progress.worker));
      replace(groups, progress.partitions.length ? groupParts(progress) : empty("No group has written anything yet."));
      replace(gaps, gapsPart(lost));
    },
  };
}
