// The tabs under the frames.

import { say } from "./i18n.js";
import { emit, state } from "./state.js";
import { byId, element } from "./dom.js";
import { drawMatrix, drawMatrixMarks, makeMatrixView } from "./matrix_view.js";
import { drawSimilarity, makeSimilarityView } from "./similarity_view.js";
import { drawTime, makeTimeView } from "./time_view.js";
import { drawAttention, makeAttentionView } from "./attention_view.js";
import { drawOrigin, makeOriginView } from "./origin_view.js";
import { drawLab, makeLabView } from "./lab_view.js";
import { drawCompare, makeCompareView } from "./compare_view.js";
import { drawPatterns, followPatterns, makePatternsView } from "./patterns_view.js";

// `follow` draws anew what shows the query patch; where there is none a view shows the query's frame alone.
export const VIEWS = {
  matrix: { title: "Matrix", make: makeMatrixView, draw: drawMatrix, follow: drawMatrixMarks },
  similarity: { title: "Similarity", make: makeSimilarityView, draw: drawSimilarity },
  time: { title: "Density over time", make: makeTimeView, draw: drawTime },
  attention: { title: "Learned attention", make: makeAttentionView, draw: drawAttention },
  origin: { title: "Who showed it first", make: makeOriginView, draw: drawOrigin, follow: drawOrigin },
  lab: { title: "Lab", make: makeLabView, draw: drawLab, follow: () => {} },
  compare: { title: "Compare", make: makeCompareView, draw: drawCompare, follow: () => {} },
  patterns: { title: "Patterns", make: makePatternsView, draw: drawPatterns, follow: followPatterns },
};

export function makeViews() {
  for (const [name, { title, make }] of Object.entries(VIEWS)) {
    const attributes = { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}` };
    byId("tabs").append(element("button", { ...attributes, onclick: () => openView(name) }, say(title)));
    const panel = element("div", { role: "tabpanel", id: `panel-${name}`, "aria-labelledby": `tab-${name}` });
    byId("panels").append(panel);
    make(panel);
  }
  byId("tabs").addEventListener("keydown", (event) => {
    const names = Object.keys(VIEWS),
      step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    openView(names[(names.indexOf(state.view) + step + names.length) % names.length]);
    byId(`tab-${state.view}`).focus();
  });
}

export const drawView = () => VIEWS[state.view].draw();

// The query is another patch, of another frame if it `moved`: what of the open view shows it is drawn anew.
export function followQuery(moved) {
  const { draw, follow } = VIEWS[state.view];
  if (follow) follow();
  else if (moved) draw();
}

export function openView(name) {
  state.view = name;
  for (const other of Object.keys(VIEWS)) {
    byId(`panel-${other}`).hidden = other !== name;
    byId(`tab-${other}`).setAttribute("aria-selected", String(other === name));
    byId(`tab-${other}`).tabIndex = other === name ? 0 : -1;
  }
  drawView();
  emit("settings");
}
