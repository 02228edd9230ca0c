// Draws the table that a chart names: its rows hold the numbers. Without this script the table is there.
"use strict";

(() => {
  // Canvas does not know var() or light-dark(): what an element's color comes to is told by the browser.
  const resolved = (holder, name) => {
    holder.style.color = `var(${name})`;
    const found = getComputedStyle(holder).color;
    holder.style.color = "";
    return found;
  };
  const faint = (color, alpha) => color.replace("rgb(", "rgba(").replace(")", `, ${alpha})`);
  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

  const draw = (holder) => {
    const table = document.getElementById(holder.dataset.chart);
    const rows = [...table.querySelectorAll("tbody tr")];
    const shown = rows.map((row) => [...row.children].map((cell) => cell.textContent));
    const numbers = (name) => rows.map((row) => Number(row.dataset[name]));
    const data = [rows.map((_, place) => place), numbers("now"), numbers("before")];
    const [accent, soft, line] = ["--accent", "--soft", "--line"].map((name) => resolved(holder, name));
    const name = table.querySelector("thead th:nth-child(2)").textContent;
    holder.hidden = false;
    holder.replaceChildren();
    const readout = document.createElement("p");
    readout.className = "soft";
    readout.setAttribute("aria-hidden", "true");
    const isCompared = data[2].some((number) => number !== 0);
    const tell = (place) => {
      readout.textContent = place == null ? isCompared ? "Dashed: the time before" : "\u00a0" : `${shown[place][0]}: ${shown[place][1]}, before ${shown[place][2]}`;
    };
    tell(null);
    const axis = { stroke: soft, ticks: { show: false }, font: "12px system-ui" };
    const every = Math.max(1, Math.ceil(rows.length / Math.max(2, Math.floor(holder.clientWidth / 92))));
    const plot = new uPlot({
      width: holder.clientWidth,
      height: holder.clientWidth < 500 ? 200 : 260,
      legend: { show: false },
      scales: {
        x: { time: false, range: [-0.6, rows.length - 0.4] },
        y: { range: (_, low, high) => [Math.min(0, low), high > 0 ? high * 1.08 : 1] },
      },
      axes: [
        { ...axis, grid: { show: false }, splits: () => data[0].filter((place) => place % every === 0),
          values: (_, places) => places.map((place) => rows[place].dataset.short) },
        { ...axis, size: 52, grid: { stroke: line, width: 1 }, ...(name.startsWith("Revenue") ? {} : { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 1e7] }),
          values: (_, ticks) => ticks.map((tick) => compact.format(tick)) },
      ],
      cursor: { drag: { x: false, y: false }, y: false, points: { show: false } },
      series: [
        {},
        { label: name, stroke: accent, fill: faint(accent, 0.75), width: 0, points: { show: false },
          paths: uPlot.paths.bars({ size: [0.7, 48], radius: 0.15 }) },
        { label: "The time before", stroke: soft, width: 1.5, dash: [4, 4], points: { show: false },
          show: isCompared, paths: uPlot.paths.stepped({ align: 0 }) },
      ],
      hooks: { setCursor: [(chart) => tell(chart.cursor.idx != null && chart.cursor.left >= 0 ? chart.cursor.idx : null)] },
    }, data, holder);
    holder.append(readout);
    return plot;
  };

  for (const holder of document.querySelectorAll("[data-chart]")) {
    let plot = draw(holder);
    let width = holder.clientWidth;
    const again = () => { plot.destroy(); plot = draw(holder); };
    new ResizeObserver(() => {
      if (holder.clientWidth !== width) { width = holder.clientWidth; again(); }
    }).observe(holder);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  }
})();
