"use strict";
// A click on the head of a column sorts its table; a second one turns the order round. Numbers sort as numbers.
const isNumber = (text) => text !== "" && Number.isFinite(Number(text));

function compare(a, b) {
  if (a === b) return 0;
  if (a === "") return 1;
  if (b === "") return -1;
  return isNumber(a) && isNumber(b) ? Number(a) - Number(b) : a.localeCompare(b);
}

function sort(head) {
  const table = head.closest("table");
  const column = [...head.parentElement.children].indexOf(head);
  const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const value = (row) => row.children[column].dataset.value;
  for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows].sort((a, b) => sign * compare(value(a), value(b)));
  table.tBodies[0].append(...rows);
}

for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sort(button.closest("th")));
}

// A number says where it comes from while the pointer rests on it.
document.addEventListener("mouseover", (event) => {
  const number = event.target.closest("[data-place]");
  if (number && !number.title) number.title = number.dataset.place;
});

// A table that is wider than its place says so, as long as there is more to the right.
function hint(scroll) {
  const left = scroll.scrollWidth - scroll.clientWidth - scroll.scrollLeft;
  scroll.parentElement.classList.toggle("wide", left > 1);
}

const places = document.querySelectorAll(".scroll");
const widths = new ResizeObserver((entries) => entries.forEach((entry) => hint(entry.target)));
for (const place of places) {
  widths.observe(place);
  place.addEventListener("scroll", () => hint(place), { passive: true });
}
for (const input of document.querySelectorAll(".groups input")) {
  input.addEventListener("change", () => hint(input.closest(".table").querySelector(".scroll")));
}

// The contents show where the reader is.
const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.getAttribute("href").slice(1), a]));
const seen = new Set();
const reader = new IntersectionObserver((entries) => {
  for (const entry of entries) seen[entry.isIntersecting ? "add" : "delete"](entry.target.id);
  const first = [...links.keys()].find((id) => seen.has(id));
  for (const [id, link] of links) {
    if (id === first) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}, { rootMargin: "-10% 0px -60% 0px" });
for (const section of document.querySelectorAll("main section[id]")) reader.observe(section);

// Paper cannot be unfolded.
const folded = [...document.querySelectorAll("details")];
window.addEventListener("beforeprint", () => folded.forEach((d) => { d.dataset.open = d.open; d.open = true; }));
window.addEventListener("afterprint", () => folded.forEach((d) => { d.open = d.dataset.open === "true"; }));
