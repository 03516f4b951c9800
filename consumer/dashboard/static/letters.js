// The dead letters, by reason.

import { ask } from "./api.js";
import { el, replace, svg, walkWithArrows } from "./dom.js";
import { bytes, count } from "./format.js";
import { empty, panel, recordPlace, sampleNote, time } from "./parts.js";
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

function letterRow(letter) {
  const href = linkHere({ letter: keyOf(letter) });
  const place = recordPlace(letter.topic, letter.partition, letter.offset);
  return el(
    "tr",
    { click: (event) => event.target.closest("a") || go(href) },
    el("td", { class: "main" }, el("a", { href, "data-key": keyOf(letter) }, place), el("span", { class: "id" }, letter.detail)),
    el("td", {}, letter.reason.replaceAll("_", " ")),
    el("td", { class: "number wide" }, bytes(letter.bytes)),
    el("td", { class: "wide" }, time(letter.noticed_at)),
  );
}

export function lettersView(content) {
  const reasons = el("div", {});
  const body = el("tbody", {});
  const labels = [["Record"], ["Reason"], ["Size", "number wide"], ["Noticed", "wide"]];
  const table = el("table", { class: "letters" }, el("thead", {}, el("tr", {}, labels.map(([label, look]) => el("th", { scope: "col", class: look }, label)))), body);
  const around = el("div", {});
  const below = el("div", { class: "below" });
  walkWithArrows(body);
  content.replaceChildren(el("h1", { class: "unseen" }, "Dead letters"), panel("Open dead letters", reasons), around, table, below);
  return {
    async refresh() {
      const { reason, after } = here().parameters;
      const [answer, summary] = await Promise.all([ask("v1/dead-letters", { reason, after }), ask("v1/dead-letters/summary")]);
      replace(reasons, summary.reasons.length ? reasonRows(summary.reasons, reason) : empty("None: every record was applied or superseded."));
      replace(around, sampleNote(answer));
      table.hidden = !answer.rows.length;
      replace(body, answer.rows.map(letterRow));
      const next = answer.next ? el("a", { class: "step", href: linkHere({ after: answer.next }), "data-key": "next", rel: "next" }, "Older →") : null;
      const first = after ? el("a", { class: "step", href: linkHere({ after: "" }), "data-key": "first" }, "← Newest") : null;
      replace(below, el("nav", { class: "pager", "aria-label": "Pages" }, [first, next].filter(Boolean)));
    },
  };
}
