// Building elements. Texts go in as text nodes, never as markup.

const SPRITE = new URL("../vendor/tabler-icons/sprite.svg", import.meta.url).pathname;
const SVG = "http://www.w3.org/2000/svg";

/**
 * An element: `h("p.note", {title: "…", onclick: f}, "text", child)`. Names with dots are
 * classes; `data` sets data attributes; `null` and `false` children and attributes are left out.
 */
export function h(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "data") Object.assign(element.dataset, value);
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  fill(element, children);
  return element;
}

function fill(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/** Replace all children. */
export function put(element, ...children) {
  element.replaceChildren();
  fill(element, children);
  return element;
}

/** An icon of the sprite, hidden from screen readers. */
export function icon(name, classes = "") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", `icon ${classes}`);
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `${SPRITE}#${name}`);
  svg.append(use);
  return svg;
}

const UNCOUNTED = { added: "empty", deleted: "empty", renamed: "renamed", copied: "copied", modified: "mode", type_changed: "type" };

/** `+3 −1`; where no line changed, what did (`binary`, `mode`, …), or nothing for a sum over files. */
export function counts({ additions, deletions, binary, status }) {
  const what = binary ? "binary" : UNCOUNTED[status];
  if (binary || !(additions || deletions)) return what ? h("span.counts.text-secondary", {}, what) : null;
  return h("span.counts", {}, h("span.count-add", {}, `+${additions}`), " ", h("span.count-del", {}, `−${deletions}`));
}

/** `1 file`, `3 files`. */
export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

/** `812 B`, `3.4 KB`, `12 MB`. */
export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  const [number, unit] = bytes < 1024 * 1024 ? [bytes / 1024, "KB"] : [bytes / 1024 / 1024, "MB"];
  return `${number < 10 ? number.toFixed(1) : Math.round(number)} ${unit}`;
}
