// Live: rows as they arrive and outcomes as they change. Without it the page is a list with a link to look again.
"use strict";
{
  const live = document.getElementById("live");
  const list = live.querySelector("tbody"), more = live.querySelector("[data-more]");
  const ROWS = 200;
  let source = null, last = live.dataset.since, wanted = !("paused" in live.dataset), others = 0;

  const say = (state, text) => { live.dataset.state = state; live.querySelector("[data-said]").textContent = text; };
  const close = () => { source?.close(); source = null; };

  const show = (event) => {
    last = event.lastEventId || last;
    const told = JSON.parse(event.data);
    const parsed = document.createElement("template");
    parsed.innerHTML = told.rows;
    const fresh = [...parsed.content.children].filter((row) => !document.getElementById(row.id));
    for (const row of fresh) row.classList.add("fresh");
    list.prepend(...fresh);
    while (list.children.length > ROWS) list.lastElementChild.remove();
    for (const [id, html] of Object.entries(told.changed)) {
      const cell = document.getElementById(id);
      if (cell) cell.innerHTML = html;
    }
    if (list.children.length) live.querySelector("[data-empty]").hidden = true;
    others += told.more;
    more.hidden = !others;
    more.textContent = `and ${others.toLocaleString("en")} more came than are shown; all are under Events`;
  };

  const open = () => {
    close();
    const address = new URL(live.dataset.stream, location.href);
    address.searchParams.set("since", last);
    source = new EventSource(address);
    source.onopen = () => say("on", "Listening");
    source.onmessage = show;
    source.addEventListener("end", (event) => { wanted = false; close(); say("off", event.data); });
    source.onerror = () => {
      if (source?.readyState === EventSource.CLOSED) { close(); say("off", "The stream ended. Load the page again."); }
      else say("wait", "Connecting again …");
    };
  };

  const button = document.querySelector("[data-pause]");
  button?.addEventListener("click", (event) => {
    event.preventDefault();
    wanted = !wanted;
    button.textContent = wanted ? "Pause" : "Go on";
    button.classList.toggle("primary", !wanted);
    history.replaceState(null, "", button.href);
    const there = new URL(button.href);
    if (there.searchParams.has("paused")) there.searchParams.delete("paused"); else there.searchParams.set("paused", "1");
    button.href = there.href;
    if (wanted) open(); else { close(); say("off", "Paused"); }
  });

  // A page in the background takes none of the few connections that a browser opens to one server.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close(); else if (wanted) open();
  });
  if (wanted && !document.hidden) open();
}
