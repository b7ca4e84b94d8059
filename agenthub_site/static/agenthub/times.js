// Times as people read them. The words are those of the server's `ago` and `elapsed` tags.

const MINUTE = 60, HOUR = 3600, DAY = 86400;

/** `42 s`, `3 min`, `2 h`, `5 d`. */
export function duration(seconds) {
  if (seconds < MINUTE) return `${Math.floor(seconds)} s`;
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)} min`;
  return seconds < DAY ? `${Math.floor(seconds / HOUR)} h` : `${Math.floor(seconds / DAY)} d`;
}

/** `3 min ago`, `in 2 h`, `just now`. */
export function ago(moment, now = Date.now()) {
  const seconds = (now - moment) / 1000;
  if (Math.abs(seconds) < 5) return "just now";
  return seconds > 0 ? `${duration(seconds)} ago` : `in ${duration(rounded(-seconds))}`;
}

/** What is still to come is told to the nearest unit: a token made for 90 days does not expire in 89. */
function rounded(seconds) {
  return seconds + Math.max(...[0, MINUTE, HOUR, DAY].filter((unit) => unit <= seconds)) / 2;
}

/** `1:02:03` or `02:03`. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / HOUR);
  return `${hours ? `${hours}:` : ""}${two(Math.floor((whole % HOUR) / MINUTE))}:${two(whole % MINUTE)}`;
}

const ends = new WeakMap();

/** Counted down from what the hub said, since this clock may differ from its. */
function secondsLeft(element) {
  const said = element.dataset.left;
  if (ends.get(element)?.said !== said) ends.set(element, { said, at: performance.now() + Number(said) * 1000 });
  return (ends.get(element).at - performance.now()) / 1000;
}

/** Bring every time on the page up to date, with the reader's own time zone as title. */
export function refreshTimes(root = document) {
  const now = Date.now();
  for (const element of root.querySelectorAll("time[data-ago]")) {
    const moment = Date.parse(element.dateTime);
    const text = ago(moment, now);
    if (element.textContent !== text) element.textContent = text;
    element.title = new Date(moment).toLocaleString();
  }
  for (const element of root.querySelectorAll("[data-elapsed-since]")) {
    element.textContent = clock((now - Date.parse(element.dataset.elapsedSince)) / 1000);
  }
  for (const element of root.querySelectorAll("[data-left]")) {
    const left = secondsLeft(element);
    const text = left > 0 ? `${clock(left)} left` : "time is up";
    if (element.textContent !== text) element.textContent = text;
  }
}
