// What an agent writes, as Markdown. It is data: markup in it is shown as text, the result
// is cleaned once more, nothing is loaded from anywhere, and links say where they lead.

import hljs from "../../vendor/highlight.js/highlight.min.js";
import MarkdownIt from "../../vendor/markdown-it/markdown-it.esm.min.mjs";

const md = new MarkdownIt({ html: false, linkify: true, breaks: true, highlight: (code, language) => highlighted(code, language) });
// A picture would be fetched from where the agent says: its address is shown instead.
md.renderer.rules.image = (tokens, index) => {
  const token = tokens[index];
  const address = md.utils.escapeHtml(token.attrGet("src") ?? "");
  return `<a href="${address}">${md.utils.escapeHtml(token.content || "picture")}</a>`;
};

const CLEAN = {
  ALLOWED_TAGS: ["a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "span", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"],
  ALLOWED_ATTR: ["href", "class", "start"],
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

/** Colours for a piece of code, as safe markup; plain where the language is unknown or the code is long. */
export function highlighted(code, language) {
  if (language && code.length < 50_000 && hljs.getLanguage(language)) {
    return hljs.highlight(code, { language, ignoreIllegals: true }).value;
  }
  return md.utils.escapeHtml(code);
}

/** A text as a cleaned fragment of Markdown. */
export function markdown(text) {
  const fragment = globalThis.DOMPurify.sanitize(md.render(text), CLEAN);
  for (const link of fragment.querySelectorAll("a")) tame(link);
  for (const table of fragment.querySelectorAll("table")) {
    const box = document.createElement("div");
    box.className = "table-box";
    table.replaceWith(box);
    box.append(table);
  }
  return fragment;
}

/** Links of the web open elsewhere and learn nothing; a relative one would lead into the hub, so it is plain text. */
function tame(link) {
  const address = link.getAttribute("href") ?? "";
  if (/^(https?:|mailto:)/i.test(address)) {
    link.rel = "noopener noreferrer nofollow";
    link.target = "_blank";
    link.title = address;
  } else {
    const plain = document.createElement("code");
    plain.textContent = link.textContent;
    link.replaceWith(plain);
  }
}

/**
 * Keeps an element up to date with a growing text. Finished blocks are rendered once: only
 * what comes after the last blank line outside a code fence is rendered again.
 */
export class GrowingMarkdown {
  constructor(element) {
    this.element = element;
    this.settled = 0; // characters whose blocks are final
    this.tail = [];
  }

  update(text, isDone) {
    if (isDone) {
      this.element.replaceChildren(markdown(text));
      return;
    }
    const stable = stablePrefix(text, this.settled);
    for (const node of this.tail) node.remove();
    if (stable > this.settled) {
      this.element.append(markdown(text.slice(this.settled, stable)));
      this.settled = stable;
    }
    const rest = markdown(text.slice(this.settled));
    this.tail = [...rest.childNodes];
    this.element.append(rest);
  }
}

/** The end of the last block that more text cannot change: a blank line outside code, not before an indented line. */
export function stablePrefix(text, from = 0) {
  let stable = from, at = from, fence = "";
  while (at < text.length) {
    const end = text.indexOf("\n", at);
    if (end < 0) break;
    const line = text.slice(at, end);
    const mark = /^ {0,3}(`{3,}|~{3,})/.exec(line)?.[1];
    if (mark && !fence) fence = mark;
    else if (mark && fence && mark[0] === fence[0] && mark.length >= fence.length && !line.trim().replaceAll(mark[0], "")) fence = "";
    at = end + 1;
    const isBlank = !fence && line.trim() === "";
    if (isBlank && at < text.length && /^[^\s\-*+\d|>]/.test(text.slice(at))) stable = at;
  }
  return stable;
}
