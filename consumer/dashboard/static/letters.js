// The dead letters, by reason.

import { ask } from "./api.js";
import { el, replace, svg, walkWithArrows } from "./dom.js";
import { bytes, count } from "./format.js";
import { empty, labelled, panel, recordPlace, sampleNote, time } from "./parts.js";
import { go, here, link, linkHere } from "./place.js";

export const keyOf = (letter) => JSON.stringify([letter.topic, letter.partition, letter.offset, letter.record_timestamp]);

function reasonRows(reasons, chosen) {
  const most = Math.max(1, ...reasons.map((one) => one.letters));
  return el(
    "ul",
    { class: "bars reasons" },
    reasons.map(({ reason, letters, oldest }) =>
      el(
        "li",
        {},
        el(
          "a",
          { href: link("dead-letters", { reason: reason === chosen ? "" : reason }), "aria-current": reason === chosen ? "true" : null, "data-key": reason },
          el("span", {}, reason.replaceAll("_", " ")),
          svg("svg", { viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", { class: "value", width: (100 * letters) / most, height: 6 })),
          el("span", { class: "number" }, count(letters)),
          el("span", { class: "soft" }, "the oldest ", time(oldest)),
        ),
      ),
    ),
  );
}

const LABELS = [["Record"], ["Reason"], ["Size", "number"], ["Noticed"]];
const GROUP_LABELS = [["Fault"], ["Reason"], ["Records", "number"], ["Noticed"]];

function bodyRow(href, key, main, note, cells, labels) {
  const first = el("td", { class: "main" }, el("a", { href, "data-key": key }, main), el("span", { class: "detail" }, note));
  return labelled(el("tr", { click: (event) => event.target.closest("a") || go(href) }, first, cells), labels.map(([label]) => label));
}

function letterRow(letter) {
  const place = recordPlace(letter.topic, letter.partition, letter.offset);
  const cells = [el("td", {}, letter.reason.replaceAll("_", " ")), el("td", { class: "number" }, bytes(letter.bytes)), el("td", {}, time(letter.noticed_at))];
  return bodyRow(linkHere({ letter: keyOf(letter) }), keyOf(letter), place, letter.detail, cells, LABELS);
}

// Dead letters that have reason and detail in common are one row. A single one is shown itself.
function groupRow({ reason, detail, letters, oldest, newest, letter }) {
  const noticed = letters > 1 ? [time(newest), el("span", { class: "detail" }, "the oldest ", time(oldest))] : time(newest);
  const cells = [el("td", {}, reason.replaceAll("_", " ")), el("td", { class: "number" }, count(letters)), el("td", {}, noticed)];
  if (letter) return bodyRow(linkHere({ letter: keyOf(letter) }), keyOf(letter), recordPlace(letter.topic, letter.partition, letter.offset), detail, cells, GROUP_LABELS);
  return bodyRow(link("dead-letters", { reason, detail }), `${reason} ${detail}`, `${count(letters)} records`, detail, cells, GROUP_LABELS);
}

export function lettersView(content) {
  const reasons = el("div", {});
  const head = el("thead", {});
  const body = el("tbody", {});
  const table = el("table", { class: "letters cards" }, head, body);
  const around = el("div", {});
  const below = el("div", { class: "below" });
  walkWithArrows(body);
  content.replaceChildren(el("h1", { class: "unseen" }, "Dead letters"), panel("Open dead letters", reasons), around, table, below);

  function show(rows, labels, answer, steps) {
    table.hidden = !rows.length;
    replace(around, sampleNote(answer));
    replace(head, el("tr", {}, labels.map(([label, look]) => el("th", { scope: "col", class: look }, label))));
    replace(body, rows);
    replace(below, el("nav", { class: "pager", "aria-label": "Pages" }, steps.filter(Boolean)));
  }

  const step = (text, key, changes, rel) => el("a", { class: "step", href: linkHere(changes), "data-key": key, rel }, text);

  return {
    async refresh() {
      const { reason, detail, all, after } = here().parameters;
      const isList = detail || all || after;
      const [summary, answer] = await Promise.all([ask("v1/dead-letters/summary"), isList ? ask("v1/dead-letters", { reason, detail, after }) : null]);
      replace(reasons, summary.reasons.length ? reasonRows(summary.reasons, reason) : empty("None: every record was applied or superseded."));
      if (isList) {
        const back = after ? step("← Newest", "first", { after: "", all: detail ? "" : "1" }) : step("← Grouped", "grouped", { detail: "", all: "", reason: detail ? "" : reason });
        show(answer.rows.map(letterRow), LABELS, answer, [back, answer.next && step("Older →", "next", { after: answer.next }, "next")]);
      } else {
        const groups = summary.groups.filter((one) => !reason || one.reason === reason);
        show(groups.map(groupRow), GROUP_LABELS, summary, [groups.length && step("Each record, the newest first", "all", { all: "1" })]);
      }
    },
  };
}
