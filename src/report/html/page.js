"use strict";
// Everything is in the page already: this sorts, filters and copies. Without it the page is whole, in the order of the run.
(() => {
  document.documentElement.classList.add("js");
  const table = document.querySelector("table.clusters");
  const rows = table ? [...table.tBodies] : [];
  const text = document.querySelector("#filter");
  const verdict = document.querySelector("#verdict");
  const account = document.querySelector("#account");
  const shown = document.querySelector("#shown");

  const haystacks = new Map(rows.map((row) => [row, row.rows[0].textContent.toLowerCase()]));
  function filter() {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const fits =
        words.every((word) => haystacks.get(row).includes(word)) &&
        (!verdict.value || row.dataset.verdict === verdict.value) &&
        (!account.value || row.dataset.account === account.value);
      row.hidden = !fits;
      count += fits ? 1 : 0;
    }
    shown.textContent = `${count} of ${rows.length}`;
  }
  if (table) {
    text.addEventListener("input", filter);
    for (const choice of [verdict, account]) choice.addEventListener("change", filter);
    filter();
    const order = new Intl.Collator(undefined, { numeric: true });
    const key = (row, column) => {
      const cell = row.rows[0].cells[column];
      return cell.dataset.key ?? cell.textContent;
    };
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, column) => {
      header.querySelector("button").addEventListener("click", () => {
        const down = header.getAttribute("aria-sort") === "ascending";
        for (const other of headers) other.removeAttribute("aria-sort");
        header.setAttribute("aria-sort", down ? "descending" : "ascending");
        const sorted = rows
          .map((row, place) => ({ row, place, key: key(row, column) }))
          .sort((a, b) => (down ? -1 : 1) * order.compare(a.key, b.key) || a.place - b.place);
        table.append(...sorted.map((one) => one.row));
      });
    });
  }

  // A link to a cluster opens its report, also where a filter hides it.
  function open() {
    const row = location.hash && document.getElementById(location.hash.slice(1));
    const details = row && row.querySelector("details");
    if (!details) return;
    row.hidden = false;
    details.open = true;
    row.scrollIntoView();
  }
  addEventListener("hashchange", open);
  open();

  async function copy(code) {
    try {
      await navigator.clipboard.writeText(code);
      return true;
    } catch {
      // Without the permission: a page from disk in some browsers.
      const area = document.createElement("textarea");
      area.value = code;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    const done = await copy(button.previousElementSibling.textContent);
    button.textContent = done ? "Copied" : "Select and copy";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
})();
