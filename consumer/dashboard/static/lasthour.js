// The last hour: rate, lag and dead letters.

import { curve } from "./curves.js";
import { el } from "./dom.js";
import { clock, count, rate, short } from "./format.js";
import { empty } from "./parts.js";

const HOUR = 3600;

function one(label, points, { since, now }, textOf, newest) {
  const from = Math.max(since, now - HOUR);
  const shown = points.map((point) => ({ ...point, tip: point.value === null ? "" : `${textOf(point.value)}\n${clock(point.at)}` }));
  return curve({ label, value: newest, points: shown, from, to: now, start: clock(from), end: clock(now) });
}

export function lastHour(answer, hasWorker) {
  const { points, since, now } = answer;
  if (!points.length) return [empty("The first reading is in half a minute.")];
  const of = (name) => points.map((point) => ({ at: point.at, value: point[name] }));
  const last = points.at(-1);
  const about = hasWorker ? "Records a second" : "Offsets written a second";
  const letters = points.reduce((sum, point) => sum + (point.dead_letters ?? 0), 0);
  const curves = [one(about, of("records_per_second"), answer, (value) => `${rate(value)} a second`, rate(last.records_per_second) ?? "–")];
  if (hasWorker) {
    curves.push(
      one("Lag", of("lag"), answer, (value) => `${count(value)} offsets`, last.lag === null ? "–" : short(last.lag)),
      one("Dead letters", of("dead_letters"), answer, (value) => `${count(value)} in half a minute`, count(letters)),
    );
  }
  const isShort = now - since < HOUR - 60;
  return [
    el("div", { class: "curves" }, curves),
    isShort ? el("p", { class: "note" }, `Since ${clock(since)}: the readings are in the memory of the process that serves this page, and begin again when it restarts.`) : null,
  ].filter(Boolean);
}
