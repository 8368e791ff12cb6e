"use strict";
// Sorting, legends, values under the pointer, a filter. Without it the page shows everything but these.

// ---- tables: a click sorts upwards, then downwards, then as it was; rows of the first body only
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], original = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const value = (row, i) => row.cells[i].dataset.value ?? row.cells[i].textContent.trim();
  heads.forEach((head, i) => {
    const button = head.querySelector("button");
    if (button) button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" }[head.ariaSort || "none"];
      heads.forEach(other => other.removeAttribute("aria-sort"));
      let rows = original;
      if (next !== "none") {
        head.setAttribute("aria-sort", next);
        const numeric = original.every(row => value(row, i) === "" || !isNaN(value(row, i)));
        const sign = next === "ascending" ? 1 : -1;
        rows = [...original].sort((a, b) => {
          const x = value(a, i), y = value(b, i);
          if (x === "" || y === "") return (x === "") - (y === "");  // what is missing is last
          return sign * (numeric ? x - y : x.localeCompare(y, undefined, { numeric: true }));
        });
      }
      body.append(...rows);
    });
  });
}

// ---- figures: a legend entry hides its series
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => {
    const hide = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!hide));
    for (const part of button.closest("figure").querySelectorAll(`[data-series="${button.dataset.of}"]`))
      part.setAttribute("visibility", hide ? "hidden" : "visible");
  });
}

// ---- figures: values under the pointer, or by arrow keys when the figure has the focus
const tip = document.createElement("div");
tip.className = "tip"; tip.hidden = true; tip.setAttribute("role", "status");
document.body.append(tip);
let lit = null;
const light = mark => {
  if (lit) lit.classList.remove("lit");
  lit = mark; tip.hidden = !mark;
  if (!mark) return;
  mark.classList.add("lit");
  tip.textContent = mark.dataset.tip;
  const box = mark.getBoundingClientRect(), left = box.left + box.width / 2 - tip.offsetWidth / 2;
  tip.style.left = `${Math.max(4, Math.min(left, document.documentElement.clientWidth - tip.offsetWidth - 4)) + scrollX}px`;
  tip.style.top = `${box.top + scrollY - tip.offsetHeight - 6}px`;
};
for (const svg of document.querySelectorAll("figure > svg")) {
  const marks = () => [...svg.querySelectorAll("[data-tip]")].filter(m => m.closest("[data-series]").getAttribute("visibility") !== "hidden");
  svg.addEventListener("pointermove", event => {
    let best = null, least = 30 ** 2;
    for (const mark of marks()) {
      const box = mark.getBoundingClientRect();
      const x = Math.max(box.left - event.clientX, 0, event.clientX - box.right), y = Math.max(box.top - event.clientY, 0, event.clientY - box.bottom);
      if (x * x + y * y < least) { least = x * x + y * y; best = mark; }
    }
    light(best);
  });
  svg.addEventListener("pointerleave", () => light(null));
  svg.addEventListener("blur", () => light(null));
  svg.addEventListener("keydown", event => {
    const all = marks(), step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") light(null);
    if (!step || !all.length) return;
    event.preventDefault();
    const at = all.indexOf(lit);
    light(all[at < 0 ? (step > 0 ? 0 : all.length - 1) : (at + step + all.length) % all.length]);
  });
}

// ---- the landing page: rows that contain every word
for (const find of document.querySelectorAll("input.find")) {
  const rows = [...document.getElementById(find.dataset.in).tBodies[0].rows];
  find.hidden = false;
  find.addEventListener("input", () => {
    const words = find.value.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
  });
}
