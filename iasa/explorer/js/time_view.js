// The tab of density over time: how many patches an average patch of each frame sees, stacked by reason.

import { RULE, range } from "./data.js";
import { count, percent, say } from "./i18n.js";
import { REASON } from "./visibility.js";
import { keysByReason } from "./mask.js";
import { f, n, plan, state } from "./state.js";
import { about, byId, element, fit, makeCanvas } from "./dom.js";
import { QUERY_LINE, ink, reasonColour } from "./colours.js";
import { FONT } from "./strip.js";

const PLOT = { left: 46, right: 6, bottom: 26, height: 300 }; // pixels
export const plotWidth = () => Math.floor(byId("panels").clientWidth - 2);

// Lines and numbers of a bar chart over frames; returns where a frame's bar stands, how wide it is, and how high a value.
export function drawAxes(pen, W, H, top, most, lines, label) {
  const width = W - PLOT.left - PLOT.right,
    height = H - PLOT.bottom - top,
    floor = top + height,
    step = width / f;
  pen.clearRect(0, 0, W, H);
  pen.font = `11px ${FONT}`;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (let g = 0; g <= lines; g++) {
    const y = floor - (g / lines) * height;
    pen.strokeStyle = ink.line;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(PLOT.left, y);
    pen.lineTo(W - PLOT.right, y);
    pen.stroke();
    pen.fillStyle = ink.soft;
    pen.fillText(label((most * g) / lines), PLOT.left - 6, y);
  }
  pen.textAlign = "center";
  const every = Math.max(1, Math.ceil(24 / step));
  for (let t = 0; t < f; t += every) pen.fillText(String(t), PLOT.left + (t + 0.5) * step, H - 11);
  return {
    floor,
    height,
    step,
    top,
    barAt: (t) => PLOT.left + t * step + Math.min(2, step * 0.1),
    barWidth: Math.max(1, step - Math.min(4, step * 0.2)),
    high: (value) => (value / most) * height,
  };
}

export function makeTimeView(panel) {
  makeCanvas("time", say("Patches seen over time, stacked by reason"), panel);
  panel.append(
    element("p", { class: "hint", id: "time-note" }),
    about(
      say(
        "One bar for each frame: how many patches an average patch of that frame may see, stacked by the reason. Since each frame keeps only a few past frames, the bars soon stop growing; with full attention they would grow with every frame. Click a bar to make that frame the query.",
      ),
    ),
  );
}

export function drawTime() {
  const W = plotWidth(),
    pen = fit(byId("time"), W, PLOT.height),
    { t: tq } = state.query;
  const bars = range(0, f).map((t) => keysByReason(plan, t)),
    sum = (bar) => bar.reduce((x, y) => x + y, 0);
  const axes = drawAxes(pen, W, PLOT.height, 10, Math.max(...bars.map(sum)) * 1.06, 4, count);
  const regions = RULE.regions.map((_, r) => REASON.chosen + r);
  const order = [REASON.own, REASON.sink, REASON.window, ...regions, REASON.whole, REASON.block];
  bars.forEach((bar, t) => {
    let y = axes.floor;
    for (const reason of order) {
      if (!bar[reason]) continue;
      pen.fillStyle = reasonColour(reason);
      y -= axes.high(bar[reason]);
      pen.fillRect(axes.barAt(t), y, axes.barWidth, axes.high(bar[reason]));
    }
  });
  pen.strokeStyle = QUERY_LINE;
  pen.lineWidth = 2;
  pen.strokeRect(PLOT.left + tq * axes.step, axes.top, axes.step, axes.height);
  const mine = sum(bars[tq]),
    given = { t: tq, mine: count(mine), all: count(f * n), share: percent(mine / (f * n)) };
  byId("time-note").textContent = say("An average patch of frame {t} sees {mine} of {all} patches, {share}.", given);
}

// The frame whose bar is under the pointer.
export function timeAt(event) {
  const box = byId("time").getBoundingClientRect();
  return Math.floor(((event.clientX - box.left - PLOT.left) / (box.width - PLOT.left - PLOT.right)) * f);
}
