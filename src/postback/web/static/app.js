// What forms cannot do by themselves: copying, and choosing without a second click. Pages work without it.
"use strict";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const text = button.parentElement.querySelector("pre, input");
  try {
    await navigator.clipboard.writeText(text.value ?? text.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(text); // no clipboard on plain HTTP: the text is selected instead
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy-link]");
  if (!button) return;
  await navigator.clipboard.writeText(location.href);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy link"; }, 2000);
});

for (const field of document.querySelectorAll("[data-zone]")) field.value = Intl.DateTimeFormat().resolvedOptions().timeZone || "";

// The second of two quick clicks would be told that the first made a key, and would not show it.
document.addEventListener("submit", (event) => {
  const { once } = event.target.elements, now = Date.now();
  if (once && now - (once.dataset.at ?? 0) < 3000) event.preventDefault();
  else if (once) once.dataset.at = now;
});

document.addEventListener("change", (event) => {
  if (event.target.matches("select[data-submit]")) event.target.form.requestSubmit();
});

for (const button of document.querySelectorAll("button[data-copy]")) button.hidden = false;
if (navigator.clipboard) for (const button of document.querySelectorAll("[data-copy-link]")) button.hidden = false;
for (const button of document.querySelectorAll("[data-without-script]")) button.hidden = true;
document.addEventListener("htmx:afterSwap", (event) => {
  for (const button of event.target.querySelectorAll("button[data-copy]")) button.hidden = false;
});
