// The run page: wires the stream to the model, the model to the page, and buttons to the API.

import { call, explain, newId } from "./api.js";
import { DiffPanel } from "./diff.js";
import { counts, put } from "./dom.js";
import { RunModel } from "./model.js";
import { fetchMissing, noteCards } from "./render/approval.js";
import { renderFacts, renderPlan } from "./render/side.js";
import { RunStream } from "./stream.js";
import { Timeline } from "./timeline.js";

const STATEFUL = /^run\.(started|completed|failed|cancelled|state\.changed|approval\.|diff\.)/;
const ENDED = ["succeeded", "failed", "cancelled", "timed_out"];
const ANNOUNCED_CHARS = 400;
const TAKES_INPUT = ["starting", "running", "waiting", "lost"];

const find = (id) => document.getElementById(id);
const page = find("run");
const { run: runId, agent, agentId, newRun, policy, maySteer } = page.dataset;
const api = `/api/v1/runs/${runId}/`;
const title = document.title;

const model = new RunModel();
let state = find("run-head").dataset.state;

const context = {
  agent, api, newRun, policy,
  reasons: JSON.parse(find("reasons").textContent),
  maySteer: maySteer === "true",
  isEnded: () => ENDED.includes(state) || model.ending !== null,
  showDiff: () => selectTab("diff"),
};

const timeline = new Timeline(find("timeline"), {
  earlier: find("earlier"), jump: find("jump"), empty: find("timeline-empty"), model, context,
});
const diffPanel = new DiffPanel(find("panel-diff"), `${api}diff/`);
// An ended run is read from its beginning, a live one is followed.
timeline.following = !context.isEnded() && !location.hash;

const stream = new RunStream(runId, {
  events(events, isMoreComing) {
    for (const event of events) model.apply(event);
    refresh(!isMoreComing && events.some((event) => STATEFUL.test(event.type)), isMoreComing);
  },
  state(frame) {
    if (frame.state === state) return;
    state = frame.state;
    refresh(true);
  },
  status: showConnection,
  gap(gap) {
    model.addGap(gap);
    refresh(false);
  },
});

/** Bring everything beside the timeline up to date, and the header if the run's state may have changed. */
function refresh(isStateful, isCatchingUp = false) {
  timeline.schedule(isCatchingUp);
  if (!refresh.scheduled) {
    refresh.scheduled = true;
    setTimeout(() => {
      refresh.scheduled = false;
      renderPlan(find("plan"), model.plan, context.isEnded());
      renderFacts(find("facts"), model.facts, model.usage);
      showDiffCounts();
      showTitle();
      announce();
      showComposer();
    }, 60);
  }
  if (isStateful) askForHeader();
}

function askForHeader() {
  clearTimeout(askForHeader.timer);
  askForHeader.timer = setTimeout(() => {
    globalThis.htmx?.trigger(document.body, "run-changed");
    globalThis.htmx?.trigger(document.body, "approvals-changed");
  }, 120);
}

document.addEventListener("htmx:afterSettle", () => {
  noteCards(find("timeline"));
  timeline.schedule();
  const head = find("run-head");
  if (!head || head.dataset.state === state) return;
  state = head.dataset.state;
  timeline.refresh("approval");
  showComposer();
});

const STATUS = {
  connecting: "connecting", live: "live", reconnecting: "reconnecting…", ended: "ended", gone: "disconnected",
};

function showConnection(status, message = "") {
  const badge = find("connection");
  badge.dataset.status = status;
  badge.lastChild.textContent = STATUS[status];
  badge.title = message;
  find("timeline").setAttribute("aria-busy", String(status === "connecting"));
  if (status === "live") fetchMissing(find("timeline"));
  if (status === "ended") {
    find("timeline-empty").hidden = true;
    timeline.refresh("approval");
    refresh(true);
  }
  if (status === "gone") find("timeline-empty").textContent = message;
}

function showTitle() {
  page.dataset.ended = String(context.isEnded());
  const waits = model.pendingApprovals().length > 0 && !context.isEnded();
  document.title = waits ? `● Approval needed: ${title}` : title;
}

/** What a screen reader hears, politely: whole messages, questions and the end, not every word as it comes. */
function announce() {
  const place = find("announcement"), [waiting] = model.pendingApprovals();
  const message = model.items.findLast((item) => item.kind === "message" && item.done);
  let words = message?.text.slice(0, ANNOUNCED_CHARS) ?? "";
  if (waiting) words = `Approval needed: ${waiting.title}`;
  if (context.isEnded()) words = `The run has ended: ${model.ending?.outcome ?? state}.`;
  if (place.textContent !== words) place.textContent = words;
}

// Tabs.

function selectTab(name) {
  for (const tab of document.querySelectorAll('[role="tab"]')) {
    const isChosen = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(isChosen));
    tab.tabIndex = isChosen ? 0 : -1;
    find(tab.getAttribute("aria-controls")).hidden = !isChosen;
    if (isChosen && document.activeElement?.role === "tab") tab.focus();
  }
  if (name === "diff") diffPanel.show();
  timeline.updateJump();
}

for (const tab of document.querySelectorAll('[role="tab"]')) {
  tab.addEventListener("click", () => selectTab(tab.id.replace("tab-", "")));
  tab.addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const other = document.querySelector('[role="tab"][aria-selected="false"]');
    other.focus();
    selectTab(other.id.replace("tab-", ""));
  });
}

function showDiffCounts() {
  const { diff } = model;
  put(find("diff-counts"), diff?.files_changed ? counts(diff) ?? String(diff.files_changed) : null);
  if (diff) diffPanel.refresh();
}

// Follow-up prompts.

const composer = find("composer");

function showComposer() {
  if (!composer) return;
  const isEnded = context.isEnded();
  composer.hidden = isEnded ? find("resumed-by") !== null : !TAKES_INPUT.includes(state);
  // A run that waits for a prompt has no turn to interrupt.
  find("composer-interrupt").hidden = isEnded || (state === "waiting" && !model.pendingApprovals().length);
  find("composer-send").textContent = isEnded ? "Continue in a new run" : "Send";
}

if (composer) {
  const text = find("composer-text");
  const fit = () => {
    text.rows = Math.min(8, text.value.split("\n").length);
  };
  text.addEventListener("input", fit);
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) composer.requestSubmit();
  });
  composer.addEventListener("submit", (event) => {
    event.preventDefault();
    if (context.isEnded()) resume();
    else send("queue");
  });
  find("composer-interrupt").addEventListener("click", () => send("interrupt"));

  /** What is written after the end goes to a new run, in this one's session. */
  async function resume() {
    const prompt = text.value.trim(), button = composer.querySelector('[type="submit"]');
    find("composer-note").textContent = "";
    button.disabled = true;
    try {
      const run = await call("/api/v1/runs/", { method: "POST", body: { agent: agentId, resumes: runId, prompt } });
      location.assign(page.dataset.runs.replace(runId, run.id));
    } catch (error) {
      find("composer-note").textContent = explain(error);
      button.disabled = false;
    }
  }

  async function send(mode) {
    const prompt = text.value.trim();
    if (!prompt) {
      text.focus();
      return;
    }
    const note = find("composer-note"), buttons = composer.querySelectorAll("button");
    const inputId = newId();
    note.textContent = "";
    for (const button of buttons) button.disabled = true;
    model.addPending(inputId, prompt, mode);
    timeline.following = true;
    timeline.schedule();
    try {
      await call(`${api}input/`, { method: "POST", body: { text: prompt, input_id: inputId, mode } });
      text.value = "";
      fit();
    } catch (error) {
      model.removePending(inputId);
      timeline.schedule();
      note.textContent = explain(error);
    } finally {
      for (const button of buttons) button.disabled = false;
      text.focus();
    }
  }
}

function showAnchor() {
  const key = location.hash.slice(1).replace("-", ":");
  const element = timeline.elements.get(key);
  if (!element) return;
  element.scrollIntoView({ block: "center" });
  element.focus();
}

showComposer();
stream.run().then(() => timeline.schedule());
if (location.hash) setTimeout(showAnchor, 600);
if (location.hash === "#diff") selectTab("diff");
