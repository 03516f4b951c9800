// Buttons that copy a text.

import { el } from "./dom.js";

const SHOWN_MS = 1500;

// A browser offers the clipboard only to pages from this machine or over TLS. Elsewhere the text is selected instead.
async function copy(text, shown) {
  try {
    await navigator.clipboard.writeText(text);
    return "copied";
  } catch {
    getSelection().selectAllChildren(shown);
    return "selected";
  }
}

// A button that copies a text; `shown` is the element that shows it.
export function copyButton(text, shown) {
  const button = el("button", { type: "button", class: "copy", "aria-label": `Copy ${text}`, "data-key": `copy ${text}` }, "copy");
  button.addEventListener("click", async () => {
    button.textContent = await copy(text, shown);
    setTimeout(() => (button.textContent = "copy"), SHOWN_MS);
  });
  return button;
}

// The text with a button beside it.
export const copyable = (text, shown = el("code", {}, text)) => el("span", { class: "copyable" }, shown, copyButton(text, shown));
