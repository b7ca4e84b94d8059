// A tool call: one line that unfolds into paths, input, content and output.

import { counts, h, icon, put } from "../dom.js";
import { clock } from "../times.js";
import { bounded, lineDiff, stripTerminal } from "./text.js";

const KINDS = {
  read: ["eye", "Read"], edit: ["pencil", "Edit"], delete: ["trash", "Delete"], move: ["arrows-move", "Move"],
  search: ["search", "Search"], execute: ["terminal-2", "Run"], think: ["brain", "Think"], fetch: ["world", "Fetch"],
  switch_mode: ["refresh", "Mode"], other: ["tool", "Tool"],
};
const STATUS = {
  pending: ["circle-dashed", "waiting"], in_progress: ["loader-2", "running"], completed: ["check", "done"], failed: ["x", "failed"],
};
const MOST_LINES = 400;

export const toolView = {
  create(item) {
    const element = h("details.item.tool", {}, h("summary"), h("div.tool-body"));
    element.addEventListener("toggle", () => fillBody(element, item));
    toolView.update(element, item);
    return element;
  },
  update(element, item) {
    const [kindIcon, kindName] = KINDS[item.tool] ?? KINDS.other;
    const [mark, status] = item.unfinished ? ["ban", "unfinished"] : STATUS[item.status] ?? STATUS.pending;
    element.dataset.status = item.unfinished ? "unfinished" : item.status;
    const title = item.title || item.paths[0] || kindName;
    put(element.firstChild,
      icon(kindIcon, "tool-kind"), h("span.tool-title", {}, title), changes(item),
      h("span.tool-status", {}, took(item), icon(mark), h("span.visually-hidden", {}, status)),
      icon("chevron-right", "chevron"));
    fillBody(element, item);
  },
};

function took(item) {
  if (!item.endedAt) return "";
  const seconds = (Date.parse(item.endedAt) - Date.parse(item.at)) / 1000;
  return seconds >= 1 ? h("span.tool-took", {}, clock(seconds)) : "";
}

function changes(item) {
  const diffs = item.content.filter((piece) => piece.type === "diff");
  if (!diffs.length) return null;
  const lines = diffs.flatMap((piece) => lineDiff(piece.old_text, piece.new_text, 0));
  const number = (sign) => lines.filter((line) => line.sign === sign).length;
  return counts({ additions: number("+"), deletions: number("-") });
}

/** The body is made when it is first opened: a long run holds thousands that nobody opens. */
function fillBody(element, item) {
  if (!element.open) return;
  put(element.lastChild,
    item.paths.length ? h("p.tool-paths", {}, item.paths.map((path) => h("code", {}, path))) : null,
    item.input ? section("Input", block(item.input)) : null,
    item.content.map(contentPiece),
    item.output ? section("Output", block(stripTerminal(item.output))) : null,
    !item.paths.length && !item.input && !item.content.length && !item.output ? h("p.text-secondary", {}, "Nothing more was said about it.") : null,
    item.unfinished ? h("p.text-secondary", {}, "The turn ended before this call did.") : null);
}

function section(name, child) {
  return h("div.tool-section", {}, h("div.tool-label", {}, name), child);
}

function block(text) {
  const [shown, more] = bounded(text);
  return h("pre.block", { tabindex: "0" }, shown, more ? `\n… ${more} more characters` : null);
}

/** A piece of what a tool (or a question about one) brings along. */
export function contentPiece(piece) {
  if (piece.type === "diff") return fileDiff(piece);
  return piece.text ? block(stripTerminal(piece.text)) : null;
}

function fileDiff(piece) {
  const lines = lineDiff(piece.old_text, piece.new_text);
  const shown = lines.slice(0, MOST_LINES);
  return h("div.file-diff", {},
    h("div.file-diff-head", {}, h("code", {}, piece.path || "a file"), piece.old_text === null ? h("span.badge.bg-green-lt", {}, "new") : null),
    h("div.file-diff-lines", { tabindex: "0" }, h("div.file-diff-inner", {}, shown.map((line) =>
      h(`div.line${{ "+": ".line-add", "-": ".line-del", "…": ".line-skip" }[line.sign] ?? ""}`, {},
        h("span.line-sign", {}, line.sign), line.text || "\u200b")))),
    lines.length > MOST_LINES ? h("div.file-diff-more", {}, `… ${lines.length - MOST_LINES} more lines`) : null);
}
