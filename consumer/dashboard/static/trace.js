// What became of an event.

import { ask } from "./api.js";
import { copyable } from "./copy.js";
import { el } from "./dom.js";
import { recordPlace, time } from "./parts.js";
import { go, link, linkHere } from "./place.js";

const EXPLAINED = {
  current: "It is the current row of its pattern.",
  in_history: "The history has it. Another event is the current row of its pattern.",
  dead_letter: "Its record was refused.",
  in_topic: "Its record is in the topic, and the table does not have it.",
  superseded: "Its record is in the topic. Another event is the current row of its pattern, and the history does not have it.",
  not_found: "It was not found.",
};

const patternOf = (id) => el("a", { href: linkHere({ pattern: id }) }, id);

export function traceForm() {
  const event = el("input", { type: "search", placeholder: "The event_id", maxlength: 36, minlength: 32, required: "", autocomplete: "off", spellcheck: "false", "data-key": "event" });
  const form = el(
    "form",
    {
      class: "filters",
      submit: (submitted) => {
        submitted.preventDefault();
        go(link("ingestion", { event: event.value.trim() }));
      },
    },
    el("label", { class: "grow" }, el("span", {}, "Event"), event),
    el("button", { class: "step" }, "Trace"),
  );
  return {
    form,
    place(parameters) {
      if (document.activeElement !== event) event.value = parameters.event ?? "";
    },
  };
}

// Resolves to an answer also for an id that is none, so that only this part of the view lacks an answer.
export async function traceOf(event, pattern) {
  try {
    return await ask(`v1/events/${encodeURIComponent(event)}`, { pattern });
  } catch (error) {
    if (error.kind !== "request") throw error;
    return { state: "unreadable" };
  }
}

export function tracePart(found) {
  if (found === null) return "";
  if (found.state === "unreadable") return el("p", { class: "note" }, "An event_id has 32 hexadecimal digits, mostly with four hyphens.");
  const fields = [
    ["Pattern", found.pattern_id && patternOf(found.pattern_id)],
    ["Measured", found.measurement_timestamp && time(found.measurement_timestamp)],
    ["Record", found.topic && copyable(`${found.topic}/${found.partition}/${found.offset}`, el("span", {}, recordPlace(found.topic, found.partition, found.offset)))],
    ["Published", found.published_at && time(found.published_at)],
    [found.state === "dead_letter" ? "Refused" : "Written", found.noted_at && time(found.noted_at)],
    ["Superseded by", found.superseded_by],
    ["Reason", found.reason?.replaceAll("_", " ")],
    ["Detail", found.detail],
    ["Searched", found.searched.length ? el("ul", {}, found.searched.map((place) => el("li", {}, place))) : null],
    ["In a shell", found.state === "not_found" && copyable(`pattern-metrics trace ${found.event_id}`)],
  ];
  return [
    el("p", {}, el("strong", {}, found.state.replaceAll("_", " ")), ` ${EXPLAINED[found.state]}`),
    el("dl", { class: "fields" }, ...fields.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
  ];
}
