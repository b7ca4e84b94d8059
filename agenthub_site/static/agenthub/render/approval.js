// A question before an action: what it is about, the runtime's own answers as buttons, the
// time left, and what became of it. Decided (by a person) and applied (on the node) are two facts.

import { explain } from "../api.js";
import { h, icon, put } from "../dom.js";
import { clock } from "../times.js";
import { contentPiece } from "./tool.js";

const BUTTONS = {
  allow_once: "btn-primary", allow_always: "btn-outline-primary", reject_once: "btn-outline-danger", reject_always: "btn-outline-danger",
};
const ORDER = ["allow_once", "allow_always", "reject_once", "reject_always"];

export const approvalView = {
  create(item, context) {
    const options = [...item.options].sort((one, other) => ORDER.indexOf(one.kind) - ORDER.indexOf(other.kind));
    const isCommand = item.command && item.title.replace(/^[`\s]+|[`\s]+$/g, "") === item.command.trim();
    const named = new Set(item.content.filter((piece) => piece.type === "diff").map((piece) => piece.path));
    const paths = item.paths.filter((path) => !named.has(path) && !item.title.includes(path));
    const said = [item.title.trim(), (item.command ?? "").trim()];
    const content = item.content.filter((piece) => piece.type === "diff" || !said.includes(piece.text.trim()));
    const element = h("section.item.approval", { id: item.key.replace(":", "-"), tabindex: "-1", "aria-label": `Approval: ${item.title}` },
      h("div.approval-head", {}, icon("shield-question"), h("h3.approval-title", {}, isCommand ? "May it run this command?" : item.title), h("span.badge.bg-yellow-lt", {}, item.action)),
      h("details.approval-what", {}, h("summary", {}, "What was asked", icon("chevron-right", "chevron")),
        item.command ? h("pre.block", { tabindex: "0", "aria-label": "Command" }, item.command) : null,
        paths.length ? h("p.tool-paths", {}, paths.map((path) => h("code", {}, path))) : null,
        content.map(contentPiece)),
      h("div.approval-buttons", {}, context.mayAnswer
        ? options.map((option) => h(`button.btn.${BUTTONS[option.kind] ?? "btn-secondary"}`, {
          type: "button", data: { option: option.option_id }, onclick: () => answer(element, item, option, context),
        }, option.name))
        : h("span.text-secondary", {}, "Your role may look at this, not answer it."),
      h("span.approval-left", {}, icon("hourglass"), h("span", { data: { expires: item.expiresAt } }))),
      h("p.approval-problem", { role: "alert", hidden: true }),
      h("p.approval-answer", { role: "status" }));
    approvalView.update(element, item, context);
    return element;
  },
  update(element, item, context) {
    const isOpen = item.state === "pending" && !context.isEnded();
    if (element.dataset.state !== item.state) element.querySelector(".approval-what").open = isOpen; // the reader may open it again
    element.dataset.state = item.state;
    element.querySelector(".approval-buttons").hidden = !isOpen;
    const words = outcome(item, context.isEnded());
    put(element.querySelector(".approval-answer"), words ? [icon(words.mark), words.text] : null);
    refreshCountdown(element.querySelector("[data-expires]"), context.skewMs);
  },
};

async function answer(element, item, option, context) {
  const buttons = [...element.querySelectorAll("button[data-option]")];
  const problem = element.querySelector(".approval-problem");
  problem.hidden = true;
  for (const button of buttons) button.disabled = true;
  try {
    await context.decide(item.approval_id, option.option_id);
  } catch (error) {
    const winner = error.data?.by?.label;
    problem.textContent = error.code === "already_decided" && winner ? `${winner} was faster: ${nameOf(item, error.data.option_id)}` : explain(error);
    problem.hidden = false;
    for (const button of buttons) button.disabled = error.status === 409;
  }
}

function nameOf(item, optionId) {
  return item.options.find((option) => option.option_id === optionId)?.name ?? "Cancelled";
}

function outcome(item, isEnded) {
  const by = item.by?.label ? ` by ${item.by.label}` : "";
  const chosen = nameOf(item, item.chosen);
  const kind = item.options.find((option) => option.option_id === item.chosen)?.kind ?? "";
  const mark = kind.startsWith("allow") ? "shield-check" : "shield-x";
  switch (item.state) {
    case "pending": return isEnded ? { mark: "ban", text: "The run ended before anybody answered." } : null;
    case "decided": return { mark: "hourglass", text: `“${chosen}” chosen${by}; on its way to the node.` };
    case "applied": return { mark, text: `“${chosen}” chosen${by} and applied.` };
    case "expired": return { mark: "hourglass", text: "Nobody answered in time, so the agent was told no." };
    case "superseded": return { mark: "ban", text: "No longer needed: the turn ended before an answer took effect." };
    case "hash_mismatch": return { mark: "alert-triangle", text: "Not applied: the action was no longer the one that was asked about." };
    default: return { mark: "info-circle", text: item.state };
  }
}

/** Seconds left by the hub's clock; `skewMs` is below zero where this clock is behind it. */
export function refreshCountdown(element, skewMs) {
  const left = (Number(element.dataset.expires) - Date.now() + skewMs) / 1000;
  const text = left > 0 ? `${clock(left)} left` : "time is up";
  if (element.textContent !== text) element.textContent = text;
}
