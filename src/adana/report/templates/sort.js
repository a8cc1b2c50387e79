// Tables sort by the column whose heading is pressed; without this script they stand in the order they were made.
for (const table of document.querySelectorAll("table.sortable")) {
  const head = table.tHead.rows[0];
  const body = table.tBodies[0];
  [...head.cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    const value = (row) => {
      const cell = row.cells[column];
      const text = cell.dataset.sort ?? cell.textContent.trim();
      const number = text === "inf" ? Infinity : Number(text);
      return text === "" ? null : Number.isNaN(number) ? text : number;
    };
    button.addEventListener("click", () => {
      const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of head.cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [value(row), row]);
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null); // what is not known comes last
        if (typeof a === "number" && typeof b === "number") return direction * (a - b || 0);
        if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
        return direction * a.localeCompare(b, "en", { numeric: true });
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}
