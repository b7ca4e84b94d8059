// Beside the timeline: the agent's plan as a checklist, and what is known of the run.

import { h, icon, put } from "../dom.js";

const MARKS = { completed: "circle-check", in_progress: "loader-2", unfinished: "circle-dashed", pending: "circle" };
const isWide = matchMedia("(min-width: 1200px)");

/** A part of the side column: always open where there is room, else folded as the reader left it. */
function part(section, name, hint, isOpen, body) {
  const before = section.querySelector("details");
  const open = isWide.matches || (before ? before.open : isOpen);
  put(section, h("details.side-part", { open },
    h("summary", {}, h("span.side-name", {}, name), h("span.side-hint", {}, hint), icon("chevron-right", "chevron")), body));
  section.hidden = false;
}

/** What was under way when the run ended stays as it was left: it neither turns nor counts as done. */
export function renderPlan(section, entries, isEnded) {
  section.hidden = !entries.length;
  if (!entries.length) return;
  const done = entries.filter((entry) => entry.status === "completed").length;
  part(section, "Plan", `${done} of ${entries.length}`, done < entries.length, h("ol.plan", {}, entries.map((entry) =>
    step(entry, isEnded))));
}

function step({ status, content }, isEnded) {
  const now = isEnded && status === "in_progress" ? "unfinished" : status || "pending";
  return h("li", { data: { status: now } }, icon(MARKS[now] ?? MARKS.pending), h("span", {}, content),
    h("span.visually-hidden", {}, ` (${now.replace("_", " ")})`));
}

const number = new Intl.NumberFormat("en");

export function renderFacts(section, facts, usage) {
  const rows = [
    ["Runtime", [facts.runtime_name || facts.preset || facts.runtime, facts.runtime_version].filter(Boolean).join(" ")],
    ["Workspace", facts.workspace && h("code", {}, facts.workspace)],
    ["Branch", facts.branch && h("code", {}, facts.branch)],
    ["Base", facts.base_commit && h("code", { title: facts.base_commit }, facts.base_commit.slice(0, 10))],
    ["Session", facts.session_id && h("code", { title: facts.session_id }, facts.session_id.slice(0, 14))],
    ["Tokens", tokens(usage)],
    ["Context", usage?.context_used && usage.context_size ? `${Math.round((100 * usage.context_used) / usage.context_size)} %` : ""],
    ["Cost", usage?.cost !== undefined && usage?.cost !== null ? `${usage.cost.toFixed(2)} ${usage.currency || ""}` : ""],
  ].filter(([, value]) => value);
  section.hidden = !rows.length;
  if (rows.length) part(section, "Run", facts.runtime_name || facts.preset || "", false, h("dl.facts", {}, rows.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}

function tokens(usage) {
  if (!usage) return "";
  const parts = [];
  if (usage.input_tokens !== undefined) parts.push(`${number.format(usage.input_tokens)} in`);
  if (usage.output_tokens !== undefined) parts.push(`${number.format(usage.output_tokens)} out`);
  return parts.join(", ") || (usage.total_tokens === undefined ? "" : number.format(usage.total_tokens));
}
