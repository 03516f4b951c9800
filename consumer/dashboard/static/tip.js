// One tooltip for all elements with data-tip, also for elements that get the focus by keyboard.

const tip = document.getElementById("tip");
let shownFor = null;

function show(target) {
  shownFor = target;
  tip.textContent = target.dataset.tip;
  tip.hidden = false;
  const box = target.getBoundingClientRect();
  const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 8;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 8 ? above : box.bottom + 8}px`;
}

export function hideTip() {
  shownFor = null;
  tip.hidden = true;
}

function follow(event) {
  const target = event.target.closest?.("[data-tip]");
  if (!target) hideTip();
  else if (target !== shownFor) show(target);
}

document.addEventListener("pointerover", follow);
document.addEventListener("focusin", follow);
document.addEventListener("scroll", hideTip, { passive: true, capture: true });
document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
// An open dialog covers everything outside it.
document.getElementById("detail").addEventListener("toggle", hideTip);
export const putTipInto = (parent) => parent.append(tip);
