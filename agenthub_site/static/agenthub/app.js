// What every page does: menus, confirmations, copying, form fields that depend on one
// another, and times that stay current. Everything works by delegation, so that parts
// swapped in by htmx need no set-up.

import { watchApprovals } from "./inbox.js";
import { refreshTimes } from "./times.js";

const body = document.body;

document.addEventListener("click", (event) => {
  const target = event.target;
  if (target.closest('[data-toggle="sidebar"]')) toggleSidebar();
  target.closest("[data-dismiss]")?.closest(".flash")?.remove();
  const copy = target.closest("[data-copy]");
  if (copy) copyText(copy);
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(target)) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
    if (body.classList.contains("sidebar-open")) toggleSidebar();
  }
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.target.closest?.("form[data-submit-keys]")?.requestSubmit();
  }
});

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-switching]");
  if (form) showFittingFields(form);
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

function toggleSidebar() {
  const open = body.classList.toggle("sidebar-open");
  for (const button of document.querySelectorAll("button[data-toggle=sidebar]")) {
    button.setAttribute("aria-expanded", String(open));
  }
}

async function copyText(button) {
  const text = document.querySelector(button.dataset.copy).textContent;
  const label = button.querySelector("span");
  try {
    await navigator.clipboard.writeText(text);
    label.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(document.querySelector(button.dataset.copy));
    label.textContent = "Press Ctrl+C";
  }
}

/** `data-show-when="runtime=command preset="`: shown if one of the fields named has the value beside it. */
function showFittingFields(form) {
  const chosen = (name) => form.elements.namedItem(name)?.value ?? "";
  for (const field of form.querySelectorAll("[data-show-when]")) {
    const rules = field.dataset.showWhen.split(" ").map((rule) => rule.split("="));
    field.hidden = !rules.some(([name, value]) => chosen(name) === value);
  }
}

/** A new project's slug follows its name until somebody edits the slug. */
function followName(form) {
  const name = form.elements.namedItem(form.dataset.slugFrom);
  const slug = form.elements.namedItem("slug");
  let own = slug.value !== "";
  slug.addEventListener("input", () => { own = true; });
  name.addEventListener("input", () => {
    if (!own) slug.value = name.value.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 64);
  });
}

for (const form of document.querySelectorAll("form[data-switching]")) showFittingFields(form);
for (const form of document.querySelectorAll("form[data-slug-from]")) followName(form);
refreshTimes();
setInterval(refreshTimes, 1000);
document.addEventListener("htmx:afterSwap", () => refreshTimes());

// An answered question leaves its place, and the keyboard with it: its card takes the focus
// (not the next card's button, which a second Enter would press), then the list does.
let wasWithin = "";
document.addEventListener("submit", (event) => {
  wasWithin = event.target.closest(".approval-card")?.id ?? ""; // its buttons are disabled, and lose the focus, before the swap
});
document.addEventListener("htmx:beforeSwap", (event) => {
  const part = event.detail.target;
  if (part.id === "approval-cards" && part.contains(document.activeElement)) wasWithin = part.id;
});
document.addEventListener("htmx:afterSettle", (event) => {
  const isTheirs = wasWithin && [wasWithin, "approval-cards"].includes(event.detail.elt.id);
  if (!isTheirs) return;
  const place = document.getElementById(wasWithin) ?? document.getElementById("approval-cards");
  if (document.activeElement === body) place?.focus({ preventScroll: true });
  wasWithin = "";
});

// What a person sent and the hub did not take is said where they pressed.
for (const [name, words] of [
  ["htmx:sendError", "The hub cannot be reached. Try again in a moment."],
  ["htmx:responseError", "The hub did not take this. Reload the page and see how things stand."],
]) {
  document.addEventListener(name, (event) => {
    if (event.detail.requestConfig.verb === "get" && !event.detail.elt.matches("a, button")) return; // asked by itself
    const place = event.detail.elt.closest(".card-body, form") ?? document.getElementById("main");
    const said = document.createElement("div");
    said.className = "alert alert-danger flash unsent";
    said.setAttribute("role", "alert");
    said.textContent = words;
    place.querySelector(".unsent")?.remove();
    place.append(said);
  });
}

// Parts that are swapped while somebody reads keep what the reader folded or opened.
const morph = globalThis.Idiomorph;
if (morph) {
  morph.defaults.callbacks.beforeNodeMorphed = (old, fresh) => !(old.dataset && "busy" in old.dataset && fresh.dataset.state === "pending");
  morph.defaults.callbacks.beforeAttributeUpdated = (name, element) =>
    !(name === "open" && element.localName === "details") && !(name === "checked" && element.matches("[data-pick]"));
}
watchApprovals();

// On a phone the tabs do not all fit: the present one is brought into sight.
const tab = document.querySelector(".tabs [aria-current]");
if (tab) tab.parentElement.scrollLeft = tab.offsetLeft - tab.parentElement.offsetLeft - 40;
