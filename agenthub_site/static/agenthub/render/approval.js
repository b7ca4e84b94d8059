// A question before an action. Its card is the inbox's, drawn by the hub: what is asked, the
// answers, the time left, and what became of it. Here is only its place in the timeline.

import { h, icon } from "../dom.js";

/** Nearer than this to the screen, an answered question's card is asked for. */
const NEAR = "600px 0px";
const ANSWERED = ["applied", "expired", "superseded", "hash_mismatch"];

const wanted = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) fetchCard(entry.target);
}, { rootMargin: NEAR });

export const approvalView = {
  create(item, context) {
    const element = h("section.item.approval", { id: item.key.replace(":", "-"), tabindex: "-1", "aria-label": `Approval: ${item.title}`, data: { approval: item.approval_id } },
      h("p.approval-coming", {}, icon("shield-question"), item.title));
    approvalView.update(element, item, context);
    return element;
  },
  /** Once answered for good, a card does not change any more. */
  update(element, item, context) {
    const now = item.state === "pending" && context.isEnded() ? "ended" : item.state;
    if (element.dataset.told === now || ANSWERED.includes(element.dataset.state)) return;
    element.dataset.told = now;
    if (now === "pending" || element.dataset.state) fetchCard(element);
    else wanted.observe(element);
  },
};

function fetchCard(element) {
  wanted.unobserve(element);
  // Outside the page there is nothing yet to swap into.
  requestAnimationFrame(() => globalThis.htmx.ajax("GET", `/approvals/${element.dataset.approval}/?in=run`, {
    source: element, target: element.firstElementChild, swap: "morph",
  }));
}

/** The card that came says how the question stands. */
export function noteCards(root) {
  for (const element of root.querySelectorAll(".approval")) {
    const state = element.querySelector(".approval-card")?.dataset.state;
    if (state) element.dataset.state = state;
  }
}

/** Ask again for cards that did not come, as when the hub was away. */
export function fetchMissing(root) {
  for (const element of root.querySelectorAll(".approval:not([data-state])")) wanted.observe(element);
}
