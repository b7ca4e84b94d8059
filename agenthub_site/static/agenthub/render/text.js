// Plain texts: terminal output without its control codes, and differences between two texts.

/** Escape sequences of terminals: colours, cursor moves, titles, and the like. */
// eslint-disable-next-line no-control-regex
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[PX^_][^\u001b]*(?:\u001b\\)?|[@-Z\\-_]|[ -/]+[0-~])/g;
// eslint-disable-next-line no-control-regex
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/g;

/** Terminal output as a person would have seen it: no control codes, and of an overwritten line only the last version. */
export function stripTerminal(text) {
  const plain = text.replace(ESCAPES, "");
  const lines = plain.includes("\r") ? plain.replaceAll("\r\n", "\n").split("\n").map(lastVersion).join("\n") : plain;
  return lines.replace(CONTROLS, "");
}

function lastVersion(line) {
  return line.split("\r").findLast((part) => part !== "") ?? "";
}

/** The part of a text that may be shown, and whether something was left out. */
export function bounded(text, most = 20_000) {
  return text.length > most ? [text.slice(0, most), text.length - most] : [text, 0];
}

/** Lines compared beyond this product are not aligned: all old ones go, all new ones come. */
const MOST_CELLS = 400_000;

/**
 * A line diff as `[{sign: " " | "+" | "-", text}]`, unchanged stretches cut to `context` lines
 * around a change (`{sign: "…"}` stands for what was cut).
 */
export function lineDiff(oldText, newText, context = 3) {
  const before = oldText ? oldText.replace(/\n$/, "").split("\n") : [];
  const after = newText ? newText.replace(/\n$/, "").split("\n") : [];
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start += 1;
  let end = 0;
  while (end < before.length - start && end < after.length - start && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  const same = (lines) => lines.map((text) => ({ sign: " ", text }));
  const all = [
    ...same(before.slice(0, start)),
    ...align(before.slice(start, before.length - end), after.slice(start, after.length - end)),
    ...same(before.slice(before.length - end)),
  ];
  return foldUnchanged(all, context);
}

/** Longest common subsequence of the differing middle. */
function align(before, after) {
  const rows = before.length, columns = after.length;
  const gone = (lines) => lines.map((text) => ({ sign: "-", text }));
  const come = (lines) => lines.map((text) => ({ sign: "+", text }));
  if (!rows || !columns || rows * columns > MOST_CELLS) return [...gone(before), ...come(after)];
  const width = columns + 1;
  const length = new Uint32Array((rows + 1) * width);
  for (let row = rows - 1; row >= 0; row -= 1) {
    for (let column = columns - 1; column >= 0; column -= 1) {
      length[row * width + column] = before[row] === after[column]
        ? length[(row + 1) * width + column + 1] + 1
        : Math.max(length[(row + 1) * width + column], length[row * width + column + 1]);
    }
  }
  const lines = [];
  let row = 0, column = 0;
  while (row < rows && column < columns) {
    if (before[row] === after[column]) {
      lines.push({ sign: " ", text: before[row] });
      row += 1;
      column += 1;
    } else if (length[(row + 1) * width + column] >= length[row * width + column + 1]) {
      lines.push({ sign: "-", text: before[row++] });
    } else {
      lines.push({ sign: "+", text: after[column++] });
    }
  }
  return [...lines, ...gone(before.slice(row)), ...come(after.slice(column))];
}

function foldUnchanged(lines, context) {
  const near = new Uint8Array(lines.length);
  lines.forEach((line, index) => {
    if (line.sign === " ") return;
    for (let at = Math.max(0, index - context); at <= Math.min(lines.length - 1, index + context); at += 1) near[at] = 1;
  });
  const shown = [];
  lines.forEach((line, index) => {
    if (near[index]) shown.push(line);
    else if (shown.at(-1)?.sign !== "…") shown.push({ sign: "…", text: "" });
  });
  return shown;
}
