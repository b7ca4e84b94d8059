// The run's changes: a list of files with counts, and each file's patch with syntax colours,
// drawn when it is opened.

import hljs from "../vendor/highlight.js/highlight.min.js";
import { call, explain } from "./api.js";
import { count, counts, h, icon, put } from "./dom.js";

/** Files with more changed lines than this start folded, and so do all beyond so many files. */
const BIG_LINES = 400;
const OPEN_FILES = 25;
const MOST_LINE_CHARS = 2_000;
const RETRY_MS = 1_500;
const MOST_RETRIES = 40;
const MARKS = { added: ["A", "added"], modified: ["M", "modified"], deleted: ["D", "deleted"], renamed: ["R", "renamed"], copied: ["C", "copied"], type_changed: ["T", "type changed"] };

const WITHOUT_LINES = {
  added: "A new file without content.", deleted: "The file was empty.", renamed: "Only its name changed.", copied: "A copy, unchanged.",
  modified: "Only its mode changed.", type_changed: "It became another kind of file.",
};

export class DiffPanel {
  constructor(root, address) {
    this.root = root;
    this.address = address;
    this.loaded = "";
    this.retries = 0;
  }

  /** The panel was opened. */
  show() {
    if (!this.loaded) this.load();
  }

  /** The run has changes now, or others. */
  refresh() {
    if (!this.root.hidden && this.loaded !== "ready") this.load();
    else if (this.loaded === "none") this.loaded = "";
  }

  async load() {
    if (this.isLoading) return;
    this.isLoading = true;
    if (!this.loaded) put(this.root, note("loader-2", "Loading the changes…"));
    try {
      const diff = await call(this.address);
      this.loaded = diff.state;
      if (diff.state === "ready") this.draw(diff);
      else if (diff.state === "pending") this.wait(diff);
      else put(this.root, note("git-compare", "No changes yet", "What the agent changed shows here at the end of its run, if it worked in a git repository."));
    } catch (error) {
      this.loaded = "";
      put(this.root, note("alert-triangle", "The changes cannot be shown", explain(error)),
        h("div.text-center", {}, h("button.btn", { type: "button", onclick: () => this.load() }, "Try again")));
    } finally {
      this.isLoading = false;
    }
  }

  wait(diff) {
    put(this.root, note("loader-2", `${count(diff.files_changed ?? diff.files.length, "file")} changed`, "The patch is still on its way from the node."));
    this.retries += 1;
    if (this.retries < MOST_RETRIES) setTimeout(() => !this.root.hidden && this.load(), RETRY_MS);
  }

  draw(diff) {
    if (!diff.files.length) {
      put(this.root, note("git-compare", "Nothing changed", "The run ended without changing a file of its repository."));
      return;
    }
    const patches = new Map(globalThis.Diff2Html.parse(diff.patch || "", { diffMaxChanges: 50_000 }).map((file) => [pathOf(file), file]));
    const files = diff.files.map((file, index) => this.file(file, patches.get(file.path), index));
    put(this.root,
      h("div.diff-head", {},
        h("strong", {}, `${count(diff.files.length, "file")} changed`), counts(diff),
        diff.base_commit ? h("span.text-secondary", {}, "against ", h("code", {}, diff.base_commit.slice(0, 10))) : null,
        h("span.diff-tools", {},
          h("button.btn.btn-sm", { type: "button", onclick: () => foldAll(files, true) }, "Open all"),
          h("button.btn.btn-sm", { type: "button", onclick: () => foldAll(files, false) }, "Fold all"))),
      diff.truncated ? h("p.diff-note", {}, icon("alert-triangle"), " The patch was too long and is cut off.") : null,
      diff.files.length > 1 ? h("ol.diff-files", { "aria-label": "Files" }, diff.files.map((file, index) => h("li", {},
        mark(file), h("a", { href: `#file-${index}`, onclick: (event) => reveal(event, files[index]) }, file.path), counts(file)))) : null,
      files);
  }

  file(file, patch, index) {
    const isBig = file.additions + file.deletions > BIG_LINES;
    const body = h("div.diff-body");
    const element = h("details.diff-file", { id: `file-${index}`, open: !isBig && index < OPEN_FILES },
      h("summary", {}, icon("chevron-right", "chevron"), mark(file), h("code.diff-path", {}, file.old_path ? `${file.old_path} → ${file.path}` : file.path), counts(file)), body);
    const draw = () => {
      if (element.open && !body.hasChildNodes()) body.append(...patchOf(file, patch));
    };
    element.addEventListener("toggle", draw);
    draw();
    return element;
  }
}

function pathOf(file) {
  return file.newName === "/dev/null" ? file.oldName : file.newName;
}

function note(mark, heading, text = "") {
  return h("div.card.empty", {}, h("div.empty-icon", {}, icon(mark)), h("p.empty-title", {}, heading), text ? h("p.empty-subtitle", {}, text) : null);
}

function mark(file) {
  const [letter, word] = MARKS[file.status] ?? ["M", "modified"];
  return h(`span.diff-mark.diff-mark-${file.status}`, { title: word }, letter, h("span.visually-hidden", {}, ` ${word}`));
}

function foldAll(files, isOpen) {
  for (const file of files) file.open = isOpen;
}

function reveal(event, file) {
  event.preventDefault();
  file.open = true;
  file.scrollIntoView({ block: "start" });
}

function patchOf(file, patch) {
  if (file.binary) return [h("p.diff-note", {}, "A binary file; its content is not shown.")];
  if (!patch?.blocks.length) return [h("p.diff-note", {}, patch ? WITHOUT_LINES[file.status] ?? "No line changed." : "Its patch is not part of what the node sent.")];
  const html = globalThis.Diff2Html.html([patch], {
    drawFileList: false, outputFormat: "line-by-line", matching: "words", matchWordsThreshold: 0.25, diffMaxLineLength: MOST_LINE_CHARS,
  });
  const fragment = globalThis.DOMPurify.sanitize(html, { RETURN_DOM_FRAGMENT: true, FORBID_ATTR: ["style", "id"], FORBID_TAGS: ["a", "form", "input", "label", "style"] });
  const table = fragment.querySelector(".d2h-file-diff");
  colour(table, languageOf(file.path));
  return [table];
}

function languageOf(path) {
  const name = path.split("/").at(-1).toLowerCase();
  const special = { makefile: "makefile", dockerfile: "bash", "cmakelists.txt": "makefile" };
  const ending = name.includes(".") ? name.split(".").at(-1) : "";
  const language = special[name] ?? ({ htm: "xml", toml: "ini", cfg: "ini" }[ending] ?? ending);
  return hljs.getLanguage(language) ? language : "";
}

/** Colour each line by itself, without disturbing the marks of changed words. */
function colour(table, language) {
  if (!language) return;
  for (const line of table.querySelectorAll(".d2h-code-line-ctn")) {
    if (line.textContent.length > MOST_LINE_CHARS) continue;
    const spans = tokens(hljs.highlight(line.textContent, { language, ignoreIllegals: true }).value);
    if (spans.length) paint(line, spans);
  }
}

/** Highlighted markup as `[{start, end, name}]`, innermost class of each stretch of text. */
function tokens(markup) {
  const parsed = document.createElement("template"); // keeps leading spaces, and is inert
  parsed.innerHTML = markup;
  const found = [];
  let at = 0;
  const walker = document.createTreeWalker(parsed.content, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { length } = walker.currentNode.data, name = walker.currentNode.parentElement?.className;
    if (name) found.push({ start: at, end: at + length, name });
    at += length;
  }
  return found;
}

function paint(line, spans) {
  const walker = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
  const nodes = [];
  while (walker.nextNode()) nodes.push(walker.currentNode);
  let at = 0;
  for (const node of nodes) {
    const text = node.data, end = at + text.length, parts = [];
    let done = at;
    for (const span of spans) {
      if (span.end <= at || span.start >= end) continue;
      const from = Math.max(span.start, at), to = Math.min(span.end, end);
      if (from > done) parts.push(text.slice(done - at, from - at));
      parts.push(h("span", { class: span.name }, text.slice(from - at, to - at)));
      done = to;
    }
    if (parts.length) {
      if (done < end) parts.push(text.slice(done - at));
      node.replaceWith(...parts);
    }
    at = end;
  }
}
