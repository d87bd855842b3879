// The run page while its run is under way: appends log lines, and swaps the parts of the page whose state changed.
// Everything it shows is on the page after a reload as well.
(() => {
  "use strict";
  const root = document.querySelector("[data-run]");
  if (!root || !window.EventSource) return;
  const box = document.getElementById("log-box");
  const list = document.getElementById("log-lines");
  const badge = document.getElementById("live-state");
  let after = Number(root.dataset.after) || 0;
  let source = null;
  let over = false;
  let swapping = Promise.resolve();

  function say(text, tone) {
    if (!badge) return;
    badge.hidden = false;
    badge.textContent = text;
    badge.className = `live ${tone}`;
  }

  function span(name, text) {
    const element = document.createElement("span");
    element.className = name;
    element.textContent = text;
    return element;
  }

  function duration(ms) {
    if (ms < 1000) return `${ms} ms`;
    return ms < 120000 ? `${(ms / 1000).toFixed(1)} s` : `${(ms / 60000).toFixed(1)} min`;
  }

  const streams = { stdout: "output", stderr: "error output" };

  function append(line) {
    if (line.seq <= after || !list) return;
    after = line.seq;
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    const item = document.createElement("li");
    item.className = line.stream;
    const time = document.createElement("time");
    time.dateTime = line.at;
    time.textContent = new Date(line.at).toISOString().slice(11, 23);
    item.append(time, " ", span("stream", streams[line.stream] || line.stream), " ", span("text", line.text));
    if (line.duration_ms !== null) item.append(" ", span("ms", duration(line.duration_ms)));
    list.append(item);
    document.getElementById("log-empty").hidden = true;
    if (atEnd) box.scrollTop = box.scrollHeight;
  }

  // What a region says, without the token that differs in every answer and without what a person has folded or typed.
  function content(region) {
    const copy = region.cloneNode(true);
    for (const token of copy.querySelectorAll("input[name=csrfmiddlewaretoken]")) token.remove();
    for (const fold of copy.querySelectorAll("details")) fold.removeAttribute("open");
    for (const time of copy.querySelectorAll("time[data-ago]")) time.textContent = "";
    return copy.innerHTML;
  }

  const TYPED = "textarea, input[type=text], input[type=password]";

  function swap(old, fresh) {
    if (content(old) === content(fresh)) return;
    const typed = new Map([...old.querySelectorAll(TYPED)].map((area) => [area.id, area.value]));
    const folds = [...old.querySelectorAll("details")].map((fold) => fold.open);
    const focus = old.contains(document.activeElement) ? document.activeElement.id : "";
    old.replaceChildren(...fresh.childNodes);
    old.className = fresh.className;
    for (const area of old.querySelectorAll(TYPED)) if (typed.has(area.id)) area.value = typed.get(area.id);
    [...old.querySelectorAll("details")].forEach((fold, index) => {
      if (index < folds.length) fold.open = folds[index];
    });
    if (focus) document.getElementById(focus)?.focus();
  }

  async function refresh() {
    const answer = await fetch(root.dataset.fragment, { headers: { "X-Requested-With": "fetch" }, redirect: "error" });
    if (!answer.ok) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const here = root.querySelector("[data-region=status]").dataset.plan;
    const there = page.querySelector("[data-region=status]").dataset.plan;
    if (here !== there || (!list && page.querySelector("[data-has-log]"))) {
      location.reload();
      return;
    }
    for (const fresh of page.querySelectorAll("[data-region]")) {
      const old = root.querySelector(`[data-region="${fresh.dataset.region}"]`);
      if (old) swap(old, document.importNode(fresh, true));
    }
  }

  // One at a time, in order: an older answer must not replace a newer one.
  function queueRefresh() {
    swapping = swapping.then(refresh).catch(() => {});
    return swapping;
  }

  function close(text, tone) {
    if (source) source.close();
    source = null;
    say(text, tone);
  }

  function open() {
    if (source || over || document.hidden) return;
    source = new EventSource(`${root.dataset.events}?after=${after}`);
    source.addEventListener("open", () => say("Live", "on"));
    source.addEventListener("error", () => say("Connection lost; trying again", "off"));
    source.addEventListener("log", (event) => append(JSON.parse(event.data)));
    source.addEventListener("state", queueRefresh);
    source.addEventListener("end", () => {
      over = true;
      close("Ended", "off");
      queueRefresh();
    });
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close("Paused while this tab is hidden", "off");
    else open();
  });
  window.addEventListener("pagehide", () => close("Paused", "off"));
  window.addEventListener("pageshow", open);
  if (box) box.scrollTop = box.scrollHeight;
  open();
})();
