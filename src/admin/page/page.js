// Follows the proxy: puts each part that has changed in the place of the old one, and says so when
// the proxy no longer answers.
"use strict";

const SILENCE = 12_000;
const AGAIN = 10_000;

const page = document.documentElement;
const waiting = new Map();
let heard = Date.now();

function follow() {
  const source = new EventSource("/events");
  source.addEventListener("parts", (event) => {
    heard = Date.now();
    page.dataset.live = "yes";
    const parts = new DOMParser().parseFromString(event.data, "text/html").body.children;
    for (const part of parts) waiting.set(part.id, part);
    settle();
  });
  // The proxy is another process, perhaps another version.
  source.addEventListener("restarted", () => location.reload());
  source.addEventListener("error", () => {
    lose();
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, AGAIN);
  });
}

function settle() {
  const selection = getSelection();
  for (const [id, part] of waiting) {
    const old = document.getElementById(id);
    // Somebody is about to copy it.
    if (old && !selection.isCollapsed && selection.containsNode(old, true)) continue;
    waiting.delete(id);
    if (!old) continue;
    const focus = old.contains(document.activeElement) ? document.activeElement.id : "";
    old.replaceWith(document.adoptNode(part));
    if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
  }
  const title = document.getElementById("lane").dataset.title;
  if (title === document.title) return;
  document.title = title;
  document.getElementById("said").textContent = title;
}

// What is on the page is old, and must not look as if it were not.
function lose() {
  if (page.dataset.live === "no") return;
  page.dataset.live = "no";
  const clock = document.getElementById("clock");
  clock.textContent = `No answer since ${clock.textContent.trim()}; what you see is old`;
  document.title = `NO ANSWER · ${document.title}`;
}

setInterval(() => {
  if (Date.now() - heard > SILENCE) lose();
}, 1000);
document.addEventListener("selectionchange", settle);
follow();
