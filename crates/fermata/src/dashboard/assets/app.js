// Looks again when something has changed, and listens to keys. Every page works without it.
"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const said = $("#said");
  const say = (text) => { said.textContent = ""; requestAnimationFrame(() => { said.textContent = text; }); };

  // --- Live regions: elements with data-live are taken from the same page, loaded again. One that is in use stays as it is.
  let paused = false, due = false, looking = false, failed = 0;
  const inUse = (element) => element.contains(document.activeElement) && document.activeElement !== document.body
    || element.matches(":hover:has(a:hover, button:hover, input:hover)")
    || element.querySelector("input:checked") !== null
    || (getSelection().rangeCount > 0 && !getSelection().isCollapsed && element.contains(getSelection().anchorNode));
  async function look() {
    if (looking) { due = true; return; }
    if (paused || document.hidden || !$("[data-live]")) { due = true; return; }
    looking = true; due = false;
    try {
      const answer = await fetch(location.href, { headers: { "x-live": "1" }, redirect: "error" });
      if (!answer.ok) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const old of all("[data-live]")) {
        const next = fresh.getElementById(old.id);
        if (!next || old.outerHTML === next.outerHTML) continue;
        if (inUse(old)) { due = true; continue; }
        old.replaceWith(document.adoptNode(next));
        const words = next.dataset.say;
        if (words && words !== old.dataset.say) say(words);
      }
      failed = 0;
    } catch { failed += 1; due = true; }
    stale(failed > 1);
    looking = false;
  }
  // What is shown may no longer be so: the page is gone, or nobody is signed in any more.
  function stale(is) {
    const notice = $("#stale");
    if (!is) { notice?.remove(); return; }
    if (notice) return;
    const words = document.createElement("p"), again = document.createElement("a");
    words.id = "stale"; words.className = "notice warn"; words.setAttribute("role", "alert");
    again.href = location.href; again.textContent = "Load the page again";
    words.append(`Not updated since ${new Date().toLocaleTimeString()}. `, again, ".");
    $("main").prepend(words);
  }
  if ($("[data-live]")) {
    // A browser has few lines to one host: a page that nobody sees holds none.
    let events;
    const listen = () => {
      if (document.hidden) { events?.close(); events = undefined; return; }
      if (events) return;
      events = new EventSource("/events");
      events.addEventListener("change", look);
      events.addEventListener("error", () => { due = true; if (events?.readyState === EventSource.CLOSED) events = undefined; });
    };
    listen();
    setInterval(() => { listen(); if (due) look(); }, 4000);
    document.addEventListener("visibilitychange", () => { due = true; listen(); if (!document.hidden) look(); });
    addEventListener("pagehide", () => { events?.close(); events = undefined; });
  }
  const pause = $("#pause");
  if (pause) pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", paused);
    pause.textContent = paused ? "Go on with updates" : "Pause updates";
    if (!paused && due) look();
  });

  // --- Rows that can be chosen: one box in the head chooses all of this page.
  document.addEventListener("change", (event) => {
    const box = event.target;
    if (!box.matches("input[data-all]")) return;
    for (const other of all("input[name=job]", box.closest("table"))) other.checked = box.checked;
  });

  // --- Keys. They can be switched off, and do nothing while somebody writes.
  const keysOff = () => localStorage.getItem("fermata-keys") === "off";
  const rows = () => all("tbody tr").filter((row) => $("a, input", row));
  const current = () => document.activeElement.closest?.("tbody tr");
  const go = (step) => {
    const list = rows();
    if (!list.length) return;
    const at = list.indexOf(current());
    const row = list[Math.min(Math.max(at + step, 0), list.length - 1)] || list[0];
    ($("a", row) || $("input", row)).focus();
    row.scrollIntoView({ block: "nearest" });
  };
  const places = { t: "/", f: "/failures", j: "/jobs", w: "/workers", a: "/audit" };
  let after = "";
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key, target = event.target;
    if (key === "Escape" && $("dialog[open]")) return;
    const writes = target.matches("input:not([type=checkbox]), textarea, select");
    if (key === "Escape" && writes) { target.blur(); return; }
    if (writes || keysOff() || $("dialog[open]")) return;
    if (after === "g") {
      after = "";
      const link = $(`header nav a[href="${places[key]}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    const act = {
      "/": () => $("input[type=search]")?.focus(),
      "j": () => go(current() ? 1 : 0), "k": () => go(-1),
      "x": () => { const box = current() && $("input[type=checkbox]", current()); if (box) { box.checked = !box.checked; say(box.checked ? "chosen" : "not chosen"); } },
      "r": () => { const button = (current() && $("[data-key=r]", current())) || $("main [data-key=r]"); if (button) button.click(); },
      "n": () => $("a[rel=next]")?.click(), "p": () => $("a[rel=prev]")?.click(),
      "g": () => { after = "g"; setTimeout(() => { after = ""; }, 1500); },
      "?": help,
    }[key];
    if (act) { event.preventDefault(); act(); }
  });
  function help() {
    let dialog = $("#keys");
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.id = "keys";
      dialog.setAttribute("aria-labelledby", "keys-title");
      const lines = [["/", "search"], ["j, k", "next row, row before"], ["Enter", "open the row"], ["x", "choose the row"],
        ["r", "retry: shows first what it will do"], ["n, p", "next page of a list, page before"],
        ["g then t, f, j, w, a", "tenants, failures, jobs, workers, audit"], ["?", "this help"], ["Esc", "close"]];
      dialog.innerHTML = "<h2 id=keys-title>Keys</h2><dl></dl><label><input type=checkbox> Single keys do nothing</label><form method=dialog><button>Close</button></form>";
      for (const [key, what] of lines) {
        if (key.startsWith("g") && !$('header nav a[href="/jobs"]')) continue;
        const dt = document.createElement("dt"), dd = document.createElement("dd");
        dt.textContent = key; dd.textContent = what;
        $("dl", dialog).append(dt, dd);
      }
      const off = $("input", dialog);
      off.checked = keysOff();
      off.addEventListener("change", () => localStorage.setItem("fermata-keys", off.checked ? "off" : "on"));
      document.body.append(dialog);
    }
    dialog.showModal();
  }
  $("#help")?.addEventListener("click", help);

  // --- A value that is copied with a click.
  for (const line of all(".cli code")) {
    const button = document.createElement("button");
    button.type = "button"; button.className = "copy"; button.textContent = "Copy";
    button.addEventListener("click", async () => { await navigator.clipboard?.writeText(line.textContent); say("copied"); });
    line.after(button);
  }
})();
