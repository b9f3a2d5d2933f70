// The tab of who showed it first: the query frame beside the frame from which its patch's content may have come.

import { range } from "./data.js";
import { percent, say } from "./i18n.js";
import { rowReasons } from "./mask.js";
import { details, originOf } from "./origin.js";
import { n, plan, state } from "./state.js";
import { about, byId, element, fit, makeCanvas } from "./dom.js";
import { COLOURS, KEY_MARK, MARK, QUERY_LINE, ink, reasonColour, toRgb } from "./colours.js";
import { CLEAR, outline, paintCells, plate, sidesOf } from "./picture.js";
import { drawAxes, plotWidth } from "./time_view.js";

// Details of the memory bed's speakers; others bear the names that the page gives them.
const NAMES = { badge: "Badge", palm: "Palm", watch: "Watch", lining: "Sleeve lining", clip: "Hair clip" };

export function makeOriginView(panel) {
  const box = (id, title) => element("div", { id }, element("p", { class: "hint", id: `${id}-title` }, title));
  panel.append(
    element("p", { class: "finding", id: "origin-text", role: "status" }),
    element("div", { class: "row pair" }, box("origin-from", ""), box("origin-to", "")),
    element("p", { class: "hint", id: "origin-note" }),
  );
  makeCanvas("origin-first", say("The frame that showed it first"), byId("origin-from"));
  makeCanvas("origin-query", say("The query frame with its patch"), byId("origin-to"));
  makeCanvas("origin-bars", say("The query patch's attention to each frame"), panel);
  panel.append(
    about(
      say(
        "Where the content of the query patch can have come from: the earliest frame before it that it may attend to and that shows the same. On clips with marked details (a badge, a watch) that is known exactly. Else it is where the network looked: the earliest frame with at least half the attention of the strongest earlier one, the mean over all layers and heads; what the network took from there was not recorded. Without a record it is the earliest frame with the same region of the body. Bars show the patch's attention to each frame, in the colour of the reason; grey frames may not be seen.",
      ),
    ),
  );
}

// The finding in words.
function sayOrigin(found) {
  const { t } = state.query,
    { kind, first, shown, shares } = found,
    own = kind === "detail" ? details.names[found.detail] : "",
    name = Object.hasOwn(NAMES, own) ? say(NAMES[own]) : own,
    given = { t, first, name, earliest: shown[0], share: shares && first >= 0 ? percent(shares[first]) : "" };
  if (kind === "none") return say("Frame {t} is a reference: nothing comes before it.", given);
  if (kind === "detail") {
    if (!shown.length) return say("{name}: no earlier frame shows it, so the network had to invent it.", given);
    if (first < 0) return say("{name}: frame {earliest} showed it first, but no frame that this patch may see does.", given);
    return first === shown[0]
      ? say("{name}: frame {first} showed it first, and this patch may see it there.", given)
      : say("{name}: frame {earliest} showed it first; of the frames that this patch may see, frame {first} did.", given);
  }
  if (kind === "plain") return say("This patch shows none of the marked details; point at one that does.");
  if (first < 0) return say("No earlier frame that this patch may see shows it.");
  return kind === "attention"
    ? say("Frame {first} is the earliest that the network looked back to from this patch ({share} of its attention).", given)
    : say("Frame {first} is the earliest that this patch may see and that shows the same region.", given);
}

function drawSide(id, t, colourOf, mark, line) {
  const room = byId("panels").clientWidth,
    [w, h] = sidesOf(Math.min(240, Math.floor((room - 16) / 2))),
    pen = fit(byId(id), w, h);
  pen.drawImage(plate(t, w, h), 0, 0, w, h);
  paintCells(pen, 0, 0, w, h, colourOf);
  if (mark) outline(pen, 0, 0, w, h, mark.i, MARK);
  pen.lineWidth = 4;
  pen.strokeStyle = line;
  pen.strokeRect(0, 0, w, h);
}

export function drawOrigin() {
  const { t, i } = state.query,
    found = originOf(plan, t, i),
    { first, lit } = found,
    own = [...toRgb(KEY_MARK), 170];
  byId("origin-text").textContent = sayOrigin(found);
  byId("origin-from").hidden = first < 0;
  byId("origin-to-title").textContent = say("Frame {t}", { t });
  drawSide("origin-query", t, () => CLEAR, state.query, COLOURS.own);
  if (first >= 0) {
    byId("origin-from-title").textContent = say("Frame {t}, the first", { t: first });
    drawSide("origin-first", first, (j) => (lit[j] ? own : CLEAR), null, QUERY_LINE);
  }
  byId("origin-bars").hidden = !found.shares;
  const notes = {
    detail: "By the clip's exact masks of this detail.",
    attention: "By recorded attention, of every layer and head; the bright patches are those that may be seen.",
    region: "By regions alone: this page holds no record of attention.",
    plain: "",
    none: "",
  };
  byId("origin-note").textContent = notes[found.kind] && say(notes[found.kind]);
  if (found.shares) drawShares(found);
}

function drawShares({ shares, first }) {
  const W = plotWidth(),
    H = 150,
    { t, i } = state.query,
    row = rowReasons(plan, t, i),
    pen = fit(byId("origin-bars"), W, H),
    axes = drawAxes(pen, W, H, 8, Math.max(0.02, ...shares), 2, percent);
  for (const k of range(0, t + 1)) {
    const reason = row.subarray(k * n, (k + 1) * n).find(Boolean);
    pen.fillStyle = reason ? reasonColour(reason) : ink.waste;
    pen.globalAlpha = reason ? 1 : 0.4;
    pen.fillRect(axes.barAt(k), axes.floor - axes.high(shares[k]), axes.barWidth, axes.high(shares[k]));
  }
  pen.globalAlpha = 1;
  if (first < 0) return;
  pen.strokeStyle = QUERY_LINE;
  pen.lineWidth = 2;
  pen.strokeRect(axes.barAt(first) - 1, axes.top, axes.barWidth + 2, axes.height);
}
