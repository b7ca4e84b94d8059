// Puts the model's items on the page: at most one DOM update per animation frame, at most
// so many items mounted at once, and the reader's place kept unless they are at the end.

import { VIEWS } from "./render/items.js";

/** Items on the page at once; earlier ones come back by a button. */
const MOUNTED = 400;
const MORE = 200;
const CATCHING_UP_MS = 1_000;
/** Nearer than this to the end, the page follows it. */
const NEAR_END_PX = 140;

export class Timeline {
  constructor(root, { earlier, jump, empty, model, context }) {
    Object.assign(this, { root, earlier, jump, empty, model, context });
    this.elements = new Map();
    this.from = 0; // index of the first mounted item
    this.following = true;
    this.scheduled = false;
    this.lastY = scrollY;
    earlier.addEventListener("click", () => this.showEarlier());
    jump.addEventListener("click", () => this.jumpToLatest());
    addEventListener("scroll", () => this.noteScroll(), { passive: true });
    addEventListener("wheel", (event) => this.noteWheel(event), { passive: true });
  }

  /** Draw soon: in the next frame, or, while a long history still comes in, once in a while. */
  schedule(isCatchingUp = false) {
    if (isCatchingUp && this.root.hasChildNodes()) {
      this.slowTimer ??= setTimeout(() => this.schedule(), CATCHING_UP_MS);
      return;
    }
    if (this.scheduled) return;
    this.scheduled = true;
    const draw = () => {
      clearTimeout(this.slowTimer);
      this.slowTimer = undefined;
      this.scheduled = false;
      this.draw();
    };
    // A hidden tab gets no frames; it should be up to date all the same when it is looked at.
    if (document.hidden) setTimeout(draw, 500);
    else requestAnimationFrame(draw);
  }

  /** Everything that changed since the last time. */
  draw() {
    const { items, changed, byKey } = this.model;
    const keys = [...changed];
    changed.clear();
    if (this.following && items.length - this.from > MOUNTED + MORE) this.unmountBefore(items.length - MOUNTED);
    for (const key of keys) {
      const item = byKey.get(key), element = this.elements.get(key);
      if (!item) {
        element?.remove();
        this.elements.delete(key);
      } else if (element) {
        VIEWS[item.kind].update(element, item, this.context);
      }
    }
    this.mountNew();
    this.earlier.hidden = this.from === 0;
    this.empty.hidden = items.length > 0 || this.context.isEnded();
    if (this.following) this.scrollToEnd();
    this.updateJump();
  }

  mountNew() {
    const fragment = document.createDocumentFragment();
    for (let index = this.model.items.length - 1; index >= this.from; index -= 1) {
      const item = this.model.items[index];
      if (this.elements.has(item.key)) break; // items are only ever added at the end
      fragment.prepend(this.make(item));
    }
    this.root.append(fragment);
  }

  make(item) {
    const element = VIEWS[item.kind].create(item, this.context);
    element.dataset.key = item.key;
    this.elements.set(item.key, element);
    return element;
  }

  unmountBefore(index) {
    for (const item of this.model.items.slice(this.from, index)) {
      this.elements.get(item.key)?.remove();
      this.elements.delete(item.key);
    }
    this.from = index;
  }

  showEarlier() {
    const first = Math.max(0, this.from - MORE);
    this.following = false;
    const fragment = document.createDocumentFragment();
    for (const item of this.model.items.slice(first, this.from)) fragment.append(this.make(item));
    const height = document.documentElement.scrollHeight;
    this.root.prepend(fragment);
    this.from = first;
    scrollBy(0, document.documentElement.scrollHeight - height);
    this.earlier.hidden = first === 0;
  }

  /** Draw every item anew with the present context (what may be done changed). */
  refresh(kind) {
    for (const item of this.model.items) if (item.kind === kind) this.model.touch(item);
    this.schedule();
  }

  /** Whoever moves up has left the end, however little; whoever comes near it follows again. */
  noteScroll() {
    const end = document.documentElement.scrollHeight - innerHeight - scrollY;
    const isMovingUp = scrollY < this.lastY;
    this.lastY = scrollY;
    if (end < 1 || (!isMovingUp && end < NEAR_END_PX)) this.following = true;
    else if (isMovingUp) this.following = false; // what grew below meanwhile is no move of the reader's
    this.updateJump();
  }

  /** A wheel turned up counts before the page has moved: the next draw must not pull it back. */
  noteWheel(event) {
    if (event.deltaY < 0 && scrollY > 0) this.following = false;
  }

  scrollToEnd() {
    scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
  }

  jumpToLatest() {
    const waiting = this.model.pendingApprovals()[0];
    this.following = !waiting;
    if (waiting) this.elements.get(waiting.key)?.scrollIntoView({ block: "center" });
    else this.scrollToEnd();
    this.updateJump();
  }

  updateJump() {
    const isHere = this.root.getClientRects().length > 0;
    // An ended run is read from its beginning: nothing new comes that one could miss.
    this.jump.hidden = this.following || this.context.isEnded() || !isHere || document.documentElement.scrollHeight <= innerHeight + NEAR_END_PX;
    const waits = this.model.pendingApprovals().length > 0 && !this.context.isEnded();
    this.jump.classList.toggle("btn-warning", waits);
    this.jump.lastChild.textContent = waits ? " Approval needed" : " Jump to latest";
  }
}
