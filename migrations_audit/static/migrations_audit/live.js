// The run page while its run is under way: appends log lines, and swaps the parts of the page whose state changed.
// Everything it shows is on the page after a reload as well. What somebody is at work on is never swapped unasked.
(() => {
  "use strict";
  const root = document.querySelector("[data-run]");
  if (!root || !window.EventSource) return;
  const box = document.getElementById("log-box");
  const list = document.getElementById("log-lines");
  const badge = document.getElementById("live-state");
  let after = Number(root.dataset.after) || 0;
  let shown = root.dataset.state;
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

  const TYPED = "textarea, select, input:not([type=hidden])";

  // What a region says, without the token that differs in every answer, and without what a person has folded, typed or was
  // told about it.
  function content(region) {
    const copy = region.cloneNode(true);
    for (const each of copy.querySelectorAll("input[name=csrfmiddlewaretoken], [role=alert], .news")) each.remove();
    for (const fold of copy.querySelectorAll("details")) fold.removeAttribute("open");
    for (const time of copy.querySelectorAll("time[data-ago]")) time.textContent = "";
    for (const field of copy.querySelectorAll(TYPED)) {
      for (const name of ["value", "aria-invalid", "aria-describedby"]) field.removeAttribute(name);
      if (field.localName === "textarea") field.textContent = "";
      for (const option of field.options || []) option.removeAttribute("selected");
    }
    return copy.innerHTML.replace(/\s+/g, " ");
  }

  function isEdited(field) {
    if (field.localName === "select") return [...field.options].some((each) => each.selected !== each.defaultSelected);
    if (["checkbox", "radio"].includes(field.type)) return field.checked !== field.defaultChecked;
    return field.value !== field.defaultValue;
  }

  // Whether somebody is at work there: a form that was refused, something typed, or the focus, but for that of a fold.
  function isHeld(region) {
    const focus = document.activeElement;
    return (
      "typed" in region.dataset ||
      (region !== focus && region.contains(focus) && focus.localName !== "summary") ||
      [...region.querySelectorAll(TYPED)].some(isEdited)
    );
  }

  // At the end of the region, so that nothing moves under a pointer.
  function tell(region, update) {
    let news = region.querySelector(".news");
    if (!news) {
      news = document.createElement("p");
      news.className = "news";
      news.setAttribute("role", "status");
      region.append(news);
    }
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button quiet-button";
    button.textContent = "Update";
    button.addEventListener("click", update);
    news.replaceChildren("Something changed here. ", button);
  }

  function replace(old, fresh) {
    const edited = new Map([...old.querySelectorAll(TYPED)].filter(isEdited).map((field) => [field.id, field.value]));
    const folds = new Map([...old.querySelectorAll("details[id]")].map((fold) => [fold.id, fold.open]));
    const folded = old.contains(document.activeElement) ? document.activeElement.closest("details[id]")?.id : "";
    old.replaceChildren(...fresh.childNodes);
    old.className = fresh.className;
    for (const field of old.querySelectorAll(TYPED)) if (edited.has(field.id)) field.value = edited.get(field.id);
    for (const fold of old.querySelectorAll("details[id]")) if (folds.has(fold.id)) fold.open = folds.get(fold.id);
    if (folded) document.getElementById(folded)?.querySelector("summary").focus();
  }

  function swap(old, fresh) {
    if (content(old) === content(fresh)) {
      old.querySelector(".news")?.remove();
      return;
    }
    if (!isHeld(old)) {
      replace(old, fresh);
      return;
    }
    tell(old, () => {
      delete old.dataset.typed;
      replace(old, fresh);
      old.tabIndex = -1;
      old.focus();
    });
  }

  // Another plan, or the first line of a log: the page as a whole is another one.
  function goAnew() {
    const held = [...root.querySelectorAll("[data-region]")].filter(isHeld);
    const leave = () => location.replace(root.dataset.page);
    if (held.length) for (const region of held) tell(region, leave);
    else leave();
  }

  async function refresh() {
    const answer = await fetch(root.dataset.fragment, { headers: { "X-Requested-With": "fetch" }, redirect: "error" });
    if (!answer.ok) return false;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const here = root.querySelector("[data-region=status]").dataset.plan;
    const there = page.querySelector("[data-region=status]").dataset.plan;
    if (here !== there || (!list && page.querySelector("[data-has-log]"))) {
      goAnew();
      return true;
    }
    for (const fresh of page.querySelectorAll("[data-region]")) {
      const old = root.querySelector(`[data-region="${fresh.dataset.region}"]`);
      if (old) swap(old, document.importNode(fresh, true));
    }
    return true;
  }

  // One at a time, in order: an older answer must not replace a newer one.
  function queueRefresh() {
    swapping = swapping.then(refresh).catch(() => false);
    return swapping;
  }

  // The page came with a state, and a stream begins with the present one: only another one is news.
  async function onState(event) {
    if (event.data === shown) return;
    const before = shown;
    shown = event.data;
    if (!(await queueRefresh()) && shown === event.data) shown = before;
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
    source.addEventListener("state", onState);
    source.addEventListener("end", () => {
      over = true;
      close("Ended", "off");
      const empty = document.getElementById("log-empty");
      if (empty) empty.textContent = "Nothing was written.";
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
