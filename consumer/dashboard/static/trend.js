// The mean quality, week by week, from the history.

import { curve } from "./curves.js";
import { el } from "./dom.js";
import { count, score, signed } from "./format.js";
import { empty, sampleNote } from "./parts.js";

const AROUND = 0.02;

function sentence({ weeks, direction, since }) {
  const last = weeks.at(-1);
  const first = weeks.find((one) => one.week === since);
  if (direction === "level") return `Level since the week of ${since}.`;
  return `${direction === "rising" ? "Rising" : "Falling"} since the week of ${since}: ${signed(last.mean - first.mean)}, from ${score(first.mean)}.`;
}

export function trendOfAll(answer) {
  const { weeks } = answer;
  if (!weeks.length) return [empty("No history is kept: a worker keeps every measurement where HISTORY_ENABLED is true.")];
  if (weeks.length === 1) return [empty(`The history has one week so far, with a mean of ${score(weeks[0].mean)}.`)];
  const points = weeks.map(({ week, mean, patterns }, index) => ({ at: index, value: mean, tip: `${score(mean)}\n${count(patterns)} patterns\nweek of ${week}` }));
  const means = weeks.map((one) => one.mean);
  const least = Math.max(0, Math.min(...means) - AROUND);
  const most = Math.min(1, Math.max(...means) + AROUND);
  const end = weeks.at(-1);
  return [
    el(
      "div",
      { class: "trend-of-all" },
      curve({ label: "Mean quality", value: score(end.mean), note: sentence(answer), points, from: 0, to: Math.max(1, weeks.length - 1), least, most, start: weeks[0].week, end: `week of ${end.week}, so far` }),
    ),
    sampleNote(answer),
  ].filter(Boolean);
}
