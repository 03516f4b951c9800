// The frame: the view, its refreshes, and the message when the server does not answer.

import { takeAge, Unanswered } from "./api.js";
import { el, replace } from "./dom.js";
import { openLetter } from "./letter.js";
import { lettersView } from "./letters.js";
import { ingestionView } from "./ingestion.js";
import { modulesView } from "./modules.js";
import { openPattern } from "./pattern.js";
import { overviewView } from "./overview.js";
import { empty, panel } from "./parts.js";
import { patternsView } from "./patterns.js";
import { go, here, link, linkHere } from "./place.js";
import { hideTip, putTipInto } from "./tip.js";

const REFRESH_SECONDS = 5;
const VIEWS = { "": overviewView, patterns: patternsView, modules: modulesView, ingestion: ingestionView, "dead-letters": lettersView };
const DETAILS = { pattern: openPattern, letter: openLetter };

const content = document.getElementById("content");
const banner = document.getElementById("banner");
const state = document.getElementById("state");
const dialog = document.getElementById("detail");

let view = { name: null, refresh: async () => {} };
let detail = { key: null, refresh: async () => {} };
let updatedAt = null;
let isRefused = false; // the request itself is wrong, so a retry does not help
let refreshing = Promise.resolve();

function refusal() {
  const { view: name, parameters } = here();
  const asked = Object.entries(parameters).map((parameter) => parameter.join("="));
  return el("span", {}, `The address asks for what there is not: ${asked.join(", ")}. `, el("a", { href: link(name) }, "Show all, without filters"));
}

function showError(error) {
  const since = updatedAt ? ` What you see is as of ${updatedAt.toLocaleTimeString("en-GB")}.` : "";
  const causes = {
    server: "The server of this page does not answer.",
    forbidden: `This cannot be shown: ${error.hint}.`,
    database: `The database does not answer as it should: ${error.hint}.`,
    slow: "The database takes too long to answer.",
    busy: "The server of this page is busy.",
  };
  isRefused = error.kind === "request";
  if (isRefused) replace(banner, refusal());
  else banner.textContent = `${causes[error.kind] ?? "This cannot be shown."}${since} Trying again every ${REFRESH_SECONDS} s.`;
  banner.hidden = false;
  document.body.classList.add("stale");
}

function recover() {
  updatedAt = new Date(Date.now() - 1000 * takeAge());
  isRefused = false;
  banner.hidden = true;
  document.body.classList.remove("stale");
}

function notFoundView(content) {
  const back = el("a", { class: "step", href: link("") }, "← Overview");
  content.replaceChildren(el("h1", { class: "unseen" }, "Not found"), panel("Not found", empty("This page has no such view."), back));
  return { refresh: async () => {} };
}

function showTitle() {
  const heading = dialog.open ? dialog.querySelector("h2") : content.querySelector("h1");
  document.title = `${heading.textContent} – pattern-metrics`;
}

function showState() {
  state.textContent = document.hidden ? "paused" : updatedAt ? `as of ${updatedAt.toLocaleTimeString("en-GB")}` : "";
}

async function refreshNow() {
  takeAge();
  try {
    await Promise.all([view.refresh(), detail.refresh()]);
    recover();
  } catch (error) {
    if (!(error instanceof Unanswered)) throw error;
    showError(error);
  }
  showState();
  showTitle();
}

// One refresh after the other, so that a late answer never covers a newer one.
function refresh() {
  refreshing = refreshing.then(refreshNow, refreshNow);
  return refreshing;
}

const refreshUnasked = () => isRefused || refresh();

function showView({ view: name, parameters }) {
  const known = Object.hasOwn(VIEWS, name) ? name : "not-found";
  if (view.name !== known) {
    view = { name: known, ...(VIEWS[known] ?? notFoundView)(content) };
    content.scrollIntoView({ block: "nearest" });
  }
  view.place?.(parameters);
  for (const item of document.querySelectorAll("#views a")) {
    if (item.getAttribute("href") === `#/${known}`) item.setAttribute("aria-current", "page");
    else item.removeAttribute("aria-current");
  }
}

function showDetail(parameters) {
  const kind = Object.keys(DETAILS).find((name) => name in parameters);
  const key = kind ? `${kind} ${parameters[kind]}` : null;
  if (key === detail.key) return;
  hideTip();
  if (key === null) {
    const opener = detail.key.slice(detail.key.indexOf(" ") + 1);
    detail = { key, refresh: async () => {} };
    putTipInto(document.body);
    dialog.close();
    // The row that opened it may have been redrawn since.
    [...content.querySelectorAll("a[data-key]")].find((row) => row.dataset.key === opener)?.focus();
    return;
  }
  detail = { key, ...DETAILS[kind](dialog, parameters[kind]) };
  putTipInto(dialog);
  if (!dialog.open) dialog.showModal();
}

function arrive() {
  const place = here();
  showView(place);
  showDetail(place.parameters);
  showTitle();
  refresh();
}

const leaveDetail = () => go(linkHere({ pattern: "", letter: "" }));

dialog.addEventListener("cancel", (event) => {
  event.preventDefault();
  leaveDetail();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target.closest("[data-close]")) leaveDetail();
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  content.focus();
});
addEventListener("hashchange", arrive);
document.addEventListener("visibilitychange", () => (document.hidden ? showState() : refreshUnasked()));
setInterval(() => document.hidden || refreshUnasked(), REFRESH_SECONDS * 1000);
arrive();
