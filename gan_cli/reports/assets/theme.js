"use strict";
// Dark and light: the system's choice, until the button says otherwise. `changed` is called after each change; `first`
// is a choice that was made before, true for dark.
function followTheme(changed = () => {}, first = null) {
  const root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)");
  const set = dark => { root.dataset.theme = dark ? "dark" : "light"; changed(); };
  system.addEventListener("change", event => set(event.matches));
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.chosen = "true";
    set(root.dataset.theme !== "dark");
  });
  if (first !== null) root.dataset.chosen = "true";
  set(first === null ? system.matches : first);
}
