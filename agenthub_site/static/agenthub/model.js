// What a run's events amount to: an ordered list of items, the plan, the facts. Pure data,
// no DOM and no clock: the same events in the same order give the same model, whether they
// come live or after a reload.

/** Characters of one output block that are kept; older ones are dropped and counted. */
const OUTPUT_CHARS = 100_000;
/** Characters of one message or thought that are kept. */
const TEXT_CHARS = 1_000_000;

export class RunModel {
  constructor() {
    this.items = [];
    this.changed = new Set();
    this.plan = [];
    this.facts = {};
    this.usage = null;
    this.diff = null;
    this.ending = null;
    this.byKey = new Map();
    this.open = new Map(); // message or thought id -> item that still grows
  }

  /** Take one envelope. Unknown types are shown by name: a newer hub may know more than this page. */
  apply(event) {
    const handler = HANDLERS[event.type];
    if (handler) handler(this, event.payload, event);
    else this.add({ kind: "notice", level: "info", title: event.type, text: "" }, event);
  }

  /** An input that was sent here and has not begun yet; its turn takes its place. */
  addPending(inputId, text, mode) {
    this.add({ kind: "pending", key: `pending:${inputId}`, text, mode }, { occurred_at: new Date().toISOString() });
  }

  removePending(inputId) {
    this.remove(`pending:${inputId}`);
  }

  /** What was missing for good, as a reader's frame says. */
  addGap({ after, next }) {
    this.add({ kind: "notice", level: "warning", title: `Events ${after + 1} to ${next - 1} are missing`, text: "They can no longer be read." }, {});
  }

  pendingApprovals() {
    return this.items.filter((item) => item.kind === "approval" && item.state === "pending");
  }

  add(item, event) {
    item.key ??= `${item.kind}:${event.seq ?? this.items.length}`;
    item.at = event.occurred_at;
    item.seq = event.seq;
    if (item.kind !== "thought") this.closeThoughts();
    this.byKey.set(item.key, item);
    this.items.push(item);
    this.changed.add(item.key);
    return item;
  }

  touch(item) {
    this.changed.add(item.key);
  }

  remove(key) {
    if (!this.byKey.delete(key)) return;
    this.items = this.items.filter((item) => item.key !== key);
    this.changed.add(key);
  }

  last() {
    return this.items.at(-1);
  }

  closeThoughts() {
    for (const [id, item] of this.open) {
      if (item.kind !== "thought") continue;
      item.done = true;
      this.open.delete(id);
      this.touch(item);
    }
  }

  closeAll() {
    for (const item of this.open.values()) {
      item.done = true;
      this.touch(item);
    }
    this.open.clear();
  }

  /** The growing item of this kind and id; a new one if there is none. */
  growing(kind, id, event) {
    const key = `${kind}:${id}`;
    let item = this.open.get(key);
    if (!item) {
      item = this.add({ kind, text: "", done: false }, event);
      this.open.set(key, item);
    }
    return item;
  }

  tool(id, event) {
    const key = `tool:${id}`;
    return this.byKey.get(key) ?? this.add({ kind: "tool", key, title: "", tool: "other", status: "pending", paths: [], input: "", content: [], output: "" }, event);
  }
}

function grow(model, kind, payload, event) {
  const item = model.growing(kind, payload.message_id, event);
  if (item.text.length < TEXT_CHARS) item.text += payload.text;
  model.touch(item);
}

function endTool(model, payload, event, status) {
  const tool = model.tool(payload.tool_call_id, event);
  tool.status = status;
  tool.endedAt = event.occurred_at;
  tool.title = payload.title || tool.title;
  if (payload.kind !== "other") tool.tool = payload.kind;
  if (payload.content?.length) tool.content = payload.content;
  tool.output = payload.output || tool.output;
  tool.unfinished = payload.unfinished || false;
  model.touch(tool);
}

function end(model, outcome, payload, event) {
  model.closeAll();
  for (const item of model.items) {
    if (item.kind !== "tool" || !["pending", "in_progress"].includes(item.status)) continue;
    item.unfinished = true;
    model.touch(item);
  }
  model.ending = model.add({ kind: "ending", outcome, ...payload }, event);
}

function approval(model, payload) {
  return model.byKey.get(`approval:${payload.approval_id}`);
}

const HANDLERS = {
  "run.started"(model, payload) {
    model.facts = { ...payload };
  },
  "run.state.changed"(model, payload, event) {
    // The card of an approval says that it waits and how it went on.
    const isSaid = payload.reason === "approval" || (payload.state === "running" && !payload.message);
    // A request to stop, and the node's word that it does: two facts, and one line.
    const before = model.last();
    const isAgain = before?.kind === "state" && before.state === payload.state && before.reason === payload.reason && !payload.message;
    if (!isSaid && !isAgain) model.add({ kind: "state", ...payload }, event);
  },
  "run.completed": (model, payload, event) => end(model, "succeeded", payload, event),
  "run.failed": (model, payload, event) => end(model, "failed", payload, event),
  "run.cancelled": (model, payload, event) => end(model, "cancelled", payload, event),
  "runtime.unavailable"(model, payload, event) {
    model.add({ kind: "notice", level: "danger", title: "The runtime cannot be used here", text: payload.message }, event);
  },
  "runtime.timeout"(model, payload, event) {
    const words = { start: "Starting", turn: "A turn", run: "The run", stop: "Stopping" };
    const text = `${words[payload.what] ?? payload.what} took longer than ${payload.seconds} s.`;
    model.add({ kind: "notice", level: "danger", title: "Time ran out", text }, event);
  },
  "run.turn.started"(model, payload, event) {
    model.removePending(payload.input_id);
    model.closeAll();
    const { turn, text, truncated } = payload;
    model.add({ kind: "turn", turn, text, truncated }, event);
  },
  "run.turn.completed"(model, payload, event) {
    model.closeAll();
    if (!["end_turn", ""].includes(payload.stop_reason)) {
      model.add({ kind: "stop", turn: payload.turn, reason: payload.stop_reason }, event);
    }
  },
  "run.message.delta": (model, payload, event) => grow(model, "message", payload, event),
  "run.thought.delta": (model, payload, event) => grow(model, "thought", payload, event),
  "run.message.completed"(model, payload, event) {
    const item = model.growing("message", payload.message_id, event);
    if (!payload.truncated || payload.text.length > item.text.length) item.text = payload.text;
    item.done = true;
    model.open.delete(`message:${payload.message_id}`);
    model.touch(item);
  },
  "run.plan.updated"(model, payload) {
    model.plan = payload.entries;
  },
  "run.tool.call"(model, payload, event) {
    const tool = model.tool(payload.tool_call_id, event);
    tool.title = payload.title || tool.title;
    if (payload.kind !== "other") tool.tool = payload.kind;
    tool.status = payload.status || tool.status;
    if (payload.paths?.length) tool.paths = payload.paths;
    tool.input = payload.input || tool.input;
    if (payload.content?.length) tool.content = payload.content;
    model.touch(tool);
  },
  "run.tool.result": (model, payload, event) => endTool(model, payload, event, "completed"),
  "run.tool.failed": (model, payload, event) => endTool(model, payload, event, "failed"),
  "run.output"(model, payload, event) {
    let item = model.last();
    if (item?.kind !== "output") item = model.add({ kind: "output", pieces: [], chars: 0, dropped: 0 }, event);
    const piece = item.pieces.at(-1);
    if (piece?.stream === payload.stream) piece.text += payload.text;
    else item.pieces.push({ stream: payload.stream, text: payload.text });
    item.chars += payload.text.length;
    while (item.chars > OUTPUT_CHARS) dropOldest(item);
    model.touch(item);
  },
  "run.usage"(model, payload) {
    model.usage = { ...model.usage, ...Object.fromEntries(Object.entries(payload).filter(([, value]) => value !== null && value !== "")) };
  },
  "run.diff.ready"(model, payload, event) {
    model.diff = payload;
    if (payload.files_changed) model.add({ kind: "diff", ...payload }, event);
  },
  "run.artifact.ready"(model, payload, event) {
    model.add({ kind: "artifact", ...payload }, event);
  },
  "run.approval.requested"(model, payload, event) {
    const expiresAt = Date.parse(event.recorded_at ?? event.occurred_at) + payload.expires_in_seconds * 1000;
    const { kind: action, ...rest } = payload;
    model.add({ ...rest, kind: "approval", key: `approval:${payload.approval_id}`, action, state: "pending", expiresAt }, event);
  },
  "run.approval.decided"(model, payload) {
    const item = approval(model, payload);
    if (!item) return;
    Object.assign(item, { state: item.state === "pending" ? "decided" : item.state, outcome: payload.outcome, chosen: payload.option_id, by: payload.by });
    model.touch(item);
  },
  "run.approval.resolved"(model, payload) {
    const item = approval(model, payload);
    if (!item) return;
    Object.assign(item, { state: payload.result, outcome: payload.outcome, chosen: payload.option_id || item.chosen });
    model.touch(item);
  },
  // What was allowed shows itself as the tool call that it is.
  "run.policy.decided"(model, payload, event) {
    if (payload.verdict !== "deny") return;
    const by = payload.level ? `By a rule of the ${payload.level}.` : "";
    model.add({ kind: "notice", level: "warning", title: `The policy said no: ${payload.title}`, text: by, rule: payload.rule }, event);
  },
  "schema.validation_failed"(model, payload, event) {
    model.add({ kind: "notice", level: "warning", title: "Something the runtime said was left out", text: `${payload.source}: ${payload.error}`, excerpt: payload.excerpt }, event);
  },
  "run.gap.found"(model, payload, event) {
    model.add({ kind: "notice", level: "warning", title: "Some of the run's records were lost on the node", text: payload.message || `${payload.lost_bytes} bytes can no longer be read.` }, event);
  },
};

function dropOldest(item) {
  const piece = item.pieces[0];
  const over = item.chars - OUTPUT_CHARS;
  if (piece.text.length <= over) {
    item.pieces.shift();
    item.chars -= piece.text.length;
    item.dropped += piece.text.length;
    return;
  }
  // Cut with room to spare, so that a busy stream does not cut at every event.
  const cut = Math.min(piece.text.length - 1, over + OUTPUT_CHARS / 4);
  piece.text = piece.text.slice(cut);
  item.chars -= cut;
  item.dropped += cut;
}
