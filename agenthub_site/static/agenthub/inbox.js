// The one live line of every page: how many approvals wait. It keeps the numbers beside
// "Approvals" and in the title, and has the inbox read anew. Only while the line is down
// for long do pages ask by themselves.

const FIRST_RETRY_MS = 500, LAST_RETRY_MS = 15_000, POLL_MS = 15_000;
const plainTitle = document.title;
let retryMs = FIRST_RETRY_MS, openedAt = 0, last = null;

export function watchApprovals() {
  if (!document.querySelector("[data-approvals-live]")) return;
  connect();
  setInterval(() => openedAt || document.hidden || tell("approvals-poll"), POLL_MS);
  document.addEventListener("change", (event) => event.target.matches("[data-pick], [data-pick-all]") && pick(event.target));
  document.addEventListener("htmx:afterSettle", showPicked);
  document.addEventListener("keydown", onKey);
  showPicked();
}

function connect() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/approvals/`);
  let isRefused = false;
  socket.onopen = () => { openedAt = Date.now(); };
  socket.onmessage = (message) => {
    const frame = JSON.parse(message.data);
    isRefused ||= [401, 403, 404].includes(frame.error?.status) || frame.error?.code === "unauthenticated";
    const told = frame.approvals ?? frame.heartbeat;
    if (!told) return;
    retryMs = FIRST_RETRY_MS;
    show(told.waiting);
    if (frame.approvals && last !== null) tell("approvals-changed");
    last = told.waiting;
  };
  socket.onclose = () => {
    openedAt = 0;
    if (isRefused) return; // signed out: the next page says so
    setTimeout(connect, retryMs * (0.7 + 0.6 * Math.random()));
    retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
  };
}

function tell(name) {
  globalThis.htmx?.trigger(document.body, name);
}

function show(waiting) {
  for (const place of document.querySelectorAll("#approvals-topbar, #approvals-sidebar")) {
    place.hidden = !waiting;
    place.lastChild.textContent = String(waiting);
  }
  if (!document.getElementById("run-head")) document.title = waiting ? `(${waiting}) ${plainTitle}` : plainTitle;
}

// Several at once.

const picks = () => [...document.querySelectorAll("[data-pick]")];

function pick(target) {
  if (target.matches("[data-pick-all]")) for (const box of picks()) box.checked = target.checked;
  showPicked();
}

function showPicked() {
  const bulk = document.getElementById("bulk");
  if (!bulk) return;
  const all = picks(), chosen = all.filter((box) => box.checked).length;
  bulk.querySelector("[data-picked]").textContent = chosen ? `${chosen} chosen` : "Choose questions to answer together";
  for (const button of bulk.querySelectorAll("[data-bulk]")) button.disabled = !chosen;
  const box = bulk.querySelector("[data-pick-all]");
  box.checked = chosen > 0 && chosen === all.length;
  box.indeterminate = chosen > 0 && chosen < all.length;
}

// Keys, while a question has the focus (and no field).

const KINDS = { a: "allow_once", r: "reject_once" };

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox]), textarea, select")) return;
  const cards = [...document.querySelectorAll("#approval-cards .approval-card")];
  if (!cards.length) return;
  const card = event.target.closest(".approval-card");
  if (event.key === "j" || event.key === "k") {
    const index = cards.indexOf(card) + (event.key === "j" ? 1 : -1);
    cards[Math.max(0, Math.min(cards.length - 1, index))].focus();
  } else if (card && event.key === "x") {
    card.querySelector("[data-pick]")?.click();
  } else if (card && KINDS[event.key] && !event.repeat) {
    card.querySelector(`button[data-kind="${KINDS[event.key]}"]`)?.click();
  } else return;
  event.preventDefault();
}
