// One dead letter, with its bytes.

import { ask } from "./api.js";
import { copyable, copyButton } from "./copy.js";
import { el, replace } from "./dom.js";
import { bytes, exact } from "./format.js";
import { recordPlace } from "./parts.js";
import { heading } from "./pattern.js";

function hexadecimal(digits) {
  const rows = digits.match(/.{1,32}/g) ?? [];
  return rows.map((row, index) => `${(index * 16).toString(16).padStart(6, "0")}  ${row.match(/../g).join(" ")}`).join("\n");
}

function content(letter, name) {
  const hex = letter[`${name}_hex`];
  const text = letter[name];
  const size = letter[`${name}_bytes`];
  if (hex === undefined && text === null) return [el("p", { class: "note" }, "None.")];
  const cut = size > letter.bytes_shown_max ? `, of which ${bytes(letter.bytes_shown_max)} are shown` : "";
  return [
    el("p", { class: "note" }, `${bytes(size)}${cut}${hex === undefined ? "" : ", no text: as hexadecimal"}`),
    el("pre", { tabindex: "0", "aria-label": name }, hex === undefined ? text : hexadecimal(hex)),
  ];
}

// A line of advice is a command, or says when to run the commands after it.
function adviceLine(line) {
  const text = line.trim();
  return text.startsWith("pattern-metrics ") ? el("p", { class: "command" }, copyable(text)) : el("p", { class: "note" }, text);
}

export function openLetter(dialog, key) {
  const box = el("article", {}, heading("…", ""));
  dialog.replaceChildren(box);
  let shown = "";
  return {
    async refresh() {
      let letter;
      try {
        const [topic, partition, offset, timestamp] = JSON.parse(key);
        letter = await ask("v1/dead-letter", { topic, partition: String(partition), offset, timestamp });
      } catch (error) {
        if (error.kind && error.kind !== "absent" && error.kind !== "request") throw error;
        replace(box, heading("There is no such dead letter", "It may have been deleted meanwhile."));
        return;
      }
      if (JSON.stringify(letter) === shown) return;
      shown = JSON.stringify(letter);
      const headers = letter.headers.map((header) => [el("dt", {}, header.key), el("dd", {}, header.value_hex ?? String(header.value))]);
      const status = letter.status === "open" ? "open" : `${letter.status} ${exact(letter.resolved_at)}${letter.resolution ? `: ${letter.resolution}` : ""}`;
      const place = el("span", {}, recordPlace(letter.topic, letter.partition, letter.offset));
      const timestamp = letter.record_timestamp === "-1" ? "none" : exact(Number(letter.record_timestamp) / 1000);
      replace(
        box,
        heading(place, [`noticed ${exact(letter.noticed_at)} · ${status} `, copyButton(`${letter.topic}/${letter.partition}/${letter.offset}`, place)]),
        el("p", { class: "reason" }, el("strong", {}, letter.reason.replaceAll("_", " ")), ` ${letter.explanation}`),
        el("p", {}, letter.detail),
        el("h3", {}, "Value"),
        content(letter, "value"),
        el("h3", {}, "Key"),
        content(letter, "key"),
        el("h3", {}, "Headers"),
        headers.length ? el("dl", { class: "fields" }, ...headers.flat()) : el("p", { class: "note" }, "None."),
        el("p", { class: "note" }, `Timestamp of the record: ${timestamp}`),
        letter.status === "open" ? [el("h3", {}, "How to mend it"), ...letter.advice.map(adviceLine)] : [],
      );
    },
  };
}
