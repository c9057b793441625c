"use strict";
// Everything can be read without this file; it adds filters and buttons and keeps folded text on paper.
(() => {
  const table = document.getElementById("scores");
  const byId = (id) => document.getElementById(id);

  const fill = (select, values) => {
    for (const value of [...new Set(values)].sort()) {
      const option = document.createElement("option");
      option.value = option.textContent = value;
      select.append(option);
    }
  };

  if (table) {
    const rows = [...table.tBodies[0].rows].map((row) => ({
      row,
      outcome: row.cells[0].textContent,
      text: row.cells[1].textContent.toLowerCase(),
      check: row.cells[2].textContent,
      slices: row.cells[3].textContent.split(", ").filter(Boolean),
    }));
    fill(byId("f-outcome"), rows.map((r) => r.outcome));
    fill(byId("f-check"), rows.map((r) => r.check));
    fill(byId("f-slice"), rows.flatMap((r) => r.slices));
    const apply = () => {
      const text = byId("f-text").value.toLowerCase();
      const [outcome, check, slice] = ["f-outcome", "f-check", "f-slice"].map((id) => byId(id).value);
      let shown = 0;
      for (const r of rows) {
        const fits = r.text.includes(text) && (!outcome || r.outcome === outcome) && (!check || r.check === check)
          && (!slice || r.slices.includes(slice));
        r.row.hidden = !fits;
        shown += fits;
      }
      byId("f-count").textContent = `${shown} of ${rows.length} rows`;
    };
    byId("filters").addEventListener("input", apply);
    byId("filters").hidden = false;
    apply();
  }

  for (const tools of document.querySelectorAll(".tools")) {
    tools.hidden = false;
    tools.addEventListener("click", (event) => {
      const { open, close } = event.target.dataset;
      const section = byId(open ?? close ?? "");
      for (const item of section?.querySelectorAll("details.case") ?? []) item.open = open !== undefined;
    });
  }

  addEventListener("beforeprint", () => {
    for (const item of document.querySelectorAll("details.case")) item.open = true;
  });
})();
