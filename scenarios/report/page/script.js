"use strict";
// Heads of tables sort their column: numbers by value, largest first, words by alphabet.  Empty cells stay last.
for (const table of document.querySelectorAll("table.sorts")) {
  const body = table.tBodies[0];
  if (!table.tHead || body.rows.length < 2) continue;
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const at = head.cellIndex;
      const cells = (row) => row.cells[at];
      const numbers = [...body.rows].some((row) => cells(row).dataset.value !== undefined);
      const before = head.getAttribute("aria-sort");
      const down = before ? before === "ascending" : numbers;
      const key = (row) => numbers ? Number(cells(row).dataset.value ?? NaN) : cells(row).textContent;
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        const [empty, other] = numbers ? [Number.isNaN(x), Number.isNaN(y)] : [x === "", y === ""];
        if (empty || other) return empty - other;
        return (numbers ? x - y : x.localeCompare(y)) * (down ? -1 : 1);
      };
      body.append(...[...body.rows].sort(order));
      for (const one of table.tHead.rows[0].cells) one.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    });
  }
}
