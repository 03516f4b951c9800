// Small curves over time.

import { el, svg } from "./dom.js";

const WIDTH = 400;
const HEIGHT = 100;

// A line with the area under it. It is broken where a value is not known.
function drawn(points, x, y) {
  const parts = [[]];
  for (const point of points) {
    if (point.value === null) parts.push([]);
    else parts.at(-1).push(`${x(point).toFixed(2)} ${y(point).toFixed(2)}`);
  }
  return parts.filter((part) => part.length).flatMap((part) => {
    const [first, last] = [part[0], part.at(-1)].map((place) => place.split(" ")[0]);
    const line = `M${part.join("L")}${part.length > 1 ? "" : "h0"}`;
    return [svg("path", { class: "area", d: `${line}L${last} ${HEIGHT}L${first} ${HEIGHT}Z` }), svg("path", { class: "line", d: line })];
  });
}

// points: {at, value, tip}, by time; from, to: the ends of the axis; least, most: those of the scale.
export function curve({ label, value, note, points, from, to, least = 0, most, start, end }) {
  const known = points.filter((point) => point.value !== null);
  const top = most ?? Math.max(1e-9, ...known.map((point) => point.value));
  const x = (point) => (WIDTH * (point.at - from)) / Math.max(1e-9, to - from);
  const y = (point) => HEIGHT - (HEIGHT * (point.value - least)) / (top - least);
  const hits = known.map((point, index) => {
    const left = index ? (x(known[index - 1]) + x(point)) / 2 : 0;
    const right = index < known.length - 1 ? (x(point) + x(known[index + 1])) / 2 : WIDTH;
    return svg(
      "g",
      { class: "point", "data-tip": point.tip },
      svg("rect", { class: "hit", x: left, y: 0, width: Math.max(0.1, right - left), height: HEIGHT }),
      svg("path", { class: "dot", d: `M${x(point).toFixed(2)} ${y(point).toFixed(2)}h0` }),
    );
  });
  return el(
    "figure",
    { class: "curve" },
    el("h3", {}, label, el("strong", {}, value)),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `${label}: ${value}` }, drawn(points, x, y), hits),
    el("figcaption", {}, el("span", {}, start), el("span", {}, end)),
    note && el("p", { class: "note" }, note),
  );
}
