// One view per kind of timeline item: `create(item, context)` makes an element once,
// `update(element, item, context)` brings it up to date. Views read the item and the
// context (what this person may do, what a click calls) and keep no state of their own but
// what the reader folded or is typing.

import { count, counts, h, icon, put, size } from "../dom.js";
import { ago } from "../times.js";
import { approvalView } from "./approval.js";
import { GrowingMarkdown } from "./markdown.js";
import { bounded, stripTerminal } from "./text.js";
import { toolView } from "./tool.js";

function time(item) {
  if (!item.at) return null;
  const moment = Date.parse(item.at);
  return h("time.item-time", { datetime: item.at, title: new Date(moment).toLocaleString(), data: { ago: "" } }, ago(moment));
}

const turn = {
  create(item) {
    const [text, more] = bounded(item.text, 16_000);
    return h("section.item.turn", { "aria-label": `Prompt of turn ${item.turn}` },
      h("div.turn-head", {}, icon("user-circle"), h("span.turn-name", {}, item.turn > 1 ? `Turn ${item.turn}` : "Prompt"), time(item)),
      h("div.turn-text", {}, text, item.truncated || more ? h("span.text-secondary", {}, " … (the rest was sent, but is not shown)") : null));
  },
  update() {},
};

const pending = {
  create(item) {
    const note = item.mode === "interrupt" ? "sent: the present turn is being interrupted" : "sent: taken after the present turn";
    return h("section.item.turn.turn-pending", {},
      h("div.turn-head", {}, icon("user-circle"), h("span.turn-name", {}, "Prompt"), h("span.text-secondary", {}, note)),
      h("div.turn-text", {}, item.text));
  },
  update() {},
};

const growing = new WeakMap();

const message = {
  create(item, context) {
    const text = h("div.markdown");
    growing.set(text, new GrowingMarkdown(text));
    const element = h("article.item.message", { "aria-label": `Message of ${context.agent}` }, text);
    message.update(element, item);
    return element;
  },
  update(element, item) {
    growing.get(element.firstChild).update(item.text, item.done);
    element.classList.toggle("is-growing", !item.done);
  },
};

const thought = {
  create(item) {
    const element = h("details.item.thought", {},
      h("summary", {}, icon("brain"), h("span.thought-name"), h("span.thought-hint"), icon("chevron-right", "chevron")),
      h("div.thought-text"));
    element.addEventListener("toggle", () => fillThought(element, item));
    thought.update(element, item);
    return element;
  },
  update(element, item) {
    element.querySelector(".thought-name").textContent = item.done ? "Thought" : "Thinking…";
    element.querySelector(".thought-hint").textContent = item.text.replace(/[*_#`>]/g, "").trim().split("\n").at(item.done ? 0 : -1).slice(0, 160);
    fillThought(element, item);
  },
};

function fillThought(element, item) {
  if (element.open) element.lastChild.textContent = item.text.trim();
}

const output = {
  create(item) {
    const element = h("details.item.output", { open: item.pieces.some((piece) => piece.stream === "stdout") },
      h("summary", {}, icon("terminal-2"), h("span.output-name"), h("span.output-hint"), icon("chevron-right", "chevron")),
      h("pre.output-text", { tabindex: "0", "aria-label": "Output" }));
    element.addEventListener("toggle", () => fillOutput(element, item));
    element.lastChild.addEventListener("scroll", (event) => noteScroll(event.target));
    output.update(element, item);
    return element;
  },
  update(element, item) {
    const streams = [...new Set(item.pieces.map((piece) => piece.stream))];
    element.querySelector(".output-name").textContent = streams.length === 1 && streams[0] === "stderr" ? "Error output" : "Output";
    element.querySelector(".output-hint").textContent = lastLine(item.pieces.at(-1).text);
    fillOutput(element, item);
  },
};

function lastLine(text) {
  return stripTerminal(text.slice(-2_000)).trimEnd().split("\n").at(-1).slice(0, 160);
}

function fillOutput(element, item) {
  if (!element.open) return;
  const text = element.lastChild;
  put(text,
    item.dropped ? h("span.output-dropped", {}, `… ${size(item.dropped)} before this are not shown here\n`) : null,
    item.pieces.map((piece) => h(`span.output-${piece.stream}`, {}, stripTerminal(piece.text))));
  if (!text.dataset.held) text.scrollTop = text.scrollHeight;
}

/** Output follows its end, unless the reader has gone up. */
function noteScroll(text) {
  if (text.scrollTop + text.clientHeight >= text.scrollHeight - 24) delete text.dataset.held;
  else text.dataset.held = "true";
}

const STATE_WORDS = {
  running: "Running", waiting: "Waiting", stopping: "Stopping", lost: "Lost", starting: "Starting", queued: "Queued",
};

const state = {
  create(item, context) {
    const words = item.message || context.reasons[item.reason]?.means || STATE_WORDS[item.state] || item.state;
    const by = item.by?.label ? `${item.by.label}: ` : "";
    const marks = { lost: "plug-connected-x", stopping: "player-stop", waiting: "hourglass", stalled: "zzz" };
    return h("div.item.state", { data: { state: item.state } },
      icon(marks[item.reason] ?? marks[item.state] ?? "circle-dashed"),
      h("span", {}, by, words), time(item));
  },
  update() {},
};

const STOPS = {
  cancelled: "The turn was interrupted", refusal: "The agent refused to go on", max_tokens: "The turn hit the model's length limit",
  max_turn_requests: "The turn hit the runtime's limit of steps",
};

const stop = {
  create: (item) => h("div.item.state", {}, icon("hand-stop"), h("span", {}, STOPS[item.reason] ?? `The turn ended: ${item.reason}`), time(item)),
  update() {},
};

const ENDINGS = {
  succeeded: ["circle-check", "Finished"], failed: ["circle-x", "Failed"], cancelled: ["ban", "Cancelled"],
};

const ending = {
  create(item, context) {
    const [mark, name] = ENDINGS[item.outcome];
    const reason = context.reasons[item.reason] ?? {};
    const facts = [
      item.exit_code === null || item.exit_code === undefined ? "" : `exit code ${item.exit_code}`,
      item.signal ? `signal ${item.signal}` : "",
    ].filter(Boolean).join(", ");
    // The header says what the reason means and what to do; here stands what was said of it.
    const means = item.outcome === "failed" && !item.message ? reason.means : "";
    return h(`section.item.ending.ending-${item.outcome}`, { "aria-label": name },
      h("div.ending-head", {}, icon(mark), h("strong", {}, name), means ? h("span", {}, means) : null, h("span.ending-facts", {}, facts), time(item)),
      item.message ? h("pre.ending-message", {}, item.message) : null,
      context.maySteer ? h("div.ending-actions", {}, h("a.btn.btn-sm", { href: context.newRun }, icon("refresh"), item.outcome === "failed" ? "Try again" : "Run again")) : null);
  },
  update() {},
};

const notice = {
  create: (item, context) => h(`div.item.notice.notice-${item.level}`, { role: item.level === "danger" ? "alert" : null },
    icon(item.level === "info" ? "info-circle" : "alert-triangle"),
    h("div", {}, h("strong", {}, item.title), item.text ? h("div", {}, item.text, item.rule ? [" ", h("a", { href: `${context.policy}#rule-${item.rule}` }, "See the rule")] : null) : null,
      item.excerpt ? h("details", {}, h("summary", {}, "Excerpt"), h("pre", {}, item.excerpt)) : null)),
  update() {},
};

const diff = {
  create: (item, context) => h("section.item.diff-card", {},
    h("div.diff-card-head", {}, icon("git-compare"), h("strong", {}, `${count(item.files_changed, "file")} changed`),
      counts(item),
      h("button.btn.btn-sm", { type: "button", onclick: context.showDiff }, "View changes")),
    h("ul.diff-card-files", {}, item.files.slice(0, 8).map((file) => h("li", {}, h("code", {}, file.path), counts(file))),
      item.files.length > 8 ? h("li.text-secondary", {}, `and ${item.files.length - 8} more`) : null)),
  update() {},
};

const artifact = {
  create(item, context) {
    const address = `${context.api}artifacts/${encodeURIComponent(item.blob.digest)}/`;
    const name = h("a", { href: address, download: "" }, h("code", {}, item.name));
    return h("div.item.state", {}, icon("package"), h("span", {}, "Artifact ", name, ` · ${item.media_type} · ${size(item.blob.size)}`), time(item));
  },
  update() {},
};

/** Views by kind of item. */
export const VIEWS = { turn, pending, message, thought, output, state, stop, ending, notice, diff, artifact, tool: toolView, approval: approvalView };
