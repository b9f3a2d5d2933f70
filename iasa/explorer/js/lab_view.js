// The lab: two challenges with a score, guessing first, and, where the page was made so, the visitor's own pose.

import { PAGE } from "./data.js";
import { count, listed, namesOf, percent, say } from "./i18n.js";
import { attention } from "./recall.js";
import { BACK, GOAL, handsMeet, handsTask, meanRecord, oracleMass, pastMass, pastPairs, scoreOf, searchFewest } from "./challenges.js";
import { DEFAULTS, makePlan } from "./mask.js";
import { bits, distance, f, grid, plan, poses, state } from "./state.js";
import { about, byId, element } from "./dom.js";
import { startCamera, stopCamera } from "./camera.js";
import { endGuess, guess, revealGuess, sayGuess, startGuess } from "./guess.js";

const opened = { plan: null, mean: null, wanted: 0, hands: null }; // what the challenges start from
let best = null, // the fewest blocks found, null before the search
  searching = false;

const button = (id, text, onclick) => element("button", { type: "button", id, onclick }, text);

export function makeLabView(panel) {
  panel.append(
    element(
      "div",
      { class: "lab" },
      section("fewest", say("Fewest blocks"), [button("fewest-answer", say("Show a perfect answer"), showFewest)]),
      section("hands", say("Hands see hands"), [button("hands-frame", say("Go to the frame"), goToHands)]),
      section("guess", say("Guess first"), [
        button("guess-start", say("Start guessing"), () => afterGuess(startGuess)),
        button("guess-show", say("Show"), () => afterGuess(revealGuess)),
        button("guess-end", say("Stop"), () => afterGuess(endGuess)),
      ]),
      ...(PAGE.camera ? [cameraSection()] : []),
    ),
    about(
      say(
        "Three ways to try what you know. The oracle of the first is the most attention to past frames that as many pairs as this page opened with could catch, if frames and regions were chosen with the attention itself in sight; a perfect answer is the cheapest of all settings of K, window and regions that reaches the goal. The second is reached by any control or by dragging the pose; the score counts pairs. When guessing, drag over patches in the film strip to mark them, or press Enter on one.",
      ),
    ),
  );
}

const section = (id, title, buttons) =>
  element(
    "section",
    { class: "task", id: `lab-${id}` },
    element("h2", {}, title),
    element("p", { id: `${id}-task` }),
    element("p", { class: "finding", id: `${id}-score`, role: "status" }),
    element("p", { class: "hint", id: `${id}-best` }),
    element("div", { class: "row" }, ...buttons),
  );

function cameraSection() {
  const made = section("camera", say("Your own pose"), [
    button("camera-start", say("Use my camera"), startCamera),
    button("camera-stop", say("Stop the camera"), stopCamera),
  ]);
  made.querySelector("#camera-task").textContent = say(
    "Your pose becomes the query frame's. This loads mediapipe from {library} and its model from {model}, which are not files of this page; your pictures stay in this browser and are never sent.",
    { library: new URL(PAGE.camera.library).host, model: new URL(PAGE.camera.model).host },
  );
  made.querySelector("#camera-stop").hidden = true;
  return made;
}

function openLab() {
  if (opened.plan) return;
  opened.plan = makePlan(poses, grid, { ...DEFAULTS, ...PAGE.plan.options }, bits, distance);
  opened.hands = handsTask(opened.plan, Math.min(f - 1, 20)) || handsTask(opened.plan, f - 1);
  if (!attention) return;
  opened.mean = meanRecord(attention);
  opened.wanted = GOAL * oracleMass(opened.plan, opened.mean);
}

export function drawLab() {
  openLab();
  drawFewest();
  drawHands();
  byId("guess-task").textContent = say("Mark the patches that will light up, then see.");
  showGuess();
  byId("guess-start").hidden = state.lit === "guess";
  byId("guess-show").hidden = state.lit !== "guess" || guess.shown;
  byId("guess-end").hidden = state.lit !== "guess";
}

export function showGuess() {
  byId("guess-score").textContent = state.lit === "guess" ? sayGuess() : "";
}

function drawFewest() {
  byId("fewest-answer").hidden = !attention || searching;
  if (!attention) {
    byId("fewest-task").textContent = say("This challenge needs a page with learned attention.");
    return;
  }
  const blocks = pastPairs(plan, plan.pooledCounts) / state.options.block ** 2,
    share = opened.wanted ? keptOfPast() / opened.wanted : 1,
    given = { goal: percent(GOAL), reached: percent(GOAL * share), blocks: count(blocks) };
  byId("fewest-task").textContent = say("Keep at least {goal} of the oracle's attention to past frames, in the fewest blocks.", given);
  const size = best && best.block === state.options.block && best.permute === state.options.permute;
  const points = size ? say("Score {score} of 100.", { score: scoreOf(best.blocks, blocks * best.block ** 2) }) : "";
  byId("fewest-score").textContent =
    share >= 1
      ? `${say("Reached: {reached} in {blocks} blocks.", given)} ${points}`
      : say("{reached} of the oracle's mass so far, in {blocks} blocks: score 0.", given);
  byId("fewest-best").textContent = size ? sayBest() : "";
}

// Of the mask as it is, computed once.
const kept = { plan: null, mass: 0 };
function keptOfPast() {
  if (kept.plan !== plan) Object.assign(kept, { plan, mass: pastMass(plan, opened.mean) });
  return kept.mass;
}

const sayBest = () =>
  best.regions
    ? say("Perfect: K {top_k}, window {window}, {regions} alone: {blocks} blocks at this block size and order.", {
        ...best,
        regions: listed(namesOf(best.regions)),
        blocks: count(best.blocks / best.block ** 2),
      })
    : say("No setting of K, window and regions reaches it.");

// All settings are tried, a set of regions at a time, so that the page goes on answering.
function showFewest() {
  const { block, permute } = state.options,
    options = { ...opened.plan.options, block, permute },
    search = searchFewest(poses, grid, options, bits, distance, opened.mean, opened.wanted);
  searching = true;
  byId("fewest-answer").hidden = true;
  const next = () => {
    const step = search.next();
    if (!step.done) {
      byId("fewest-best").textContent = say("Trying all settings: {share}", { share: percent(step.value / 31) });
      setTimeout(next, 0);
      return;
    }
    searching = false;
    best = { ...(step.value || { blocks: 0, regions: 0 }), block, permute };
    drawLab();
  };
  next();
}

function drawHands() {
  const task = opened.hands;
  byId("hands-frame").hidden = !task;
  if (!task) {
    byId("hands-task").textContent = say("In this clip hands see hands {back} frames back already, or none are shown.", { back: BACK });
    return;
  }
  const pairs = pastPairs(plan, plan.counts),
    given = { ...task, pairs: count(pairs), fewest: count(task.pairs), back: BACK };
  byId("hands-task").textContent = say("Make the hands of frame {t} see the hands of frame {s}, {back} frames back, with few pairs in all.", given);
  byId("hands-score").textContent = handsMeet(plan, task)
    ? `${say("Reached, with {pairs} pairs of past frames.", given)} ${say("Score {score} of 100.", { score: scoreOf(task.pairs, pairs) })}`
    : say("Not yet: frame {s} is hidden from them. Score 0.", given);
  byId("hands-best").textContent = say("Perfect: K 1, no window, hands alone, and frame {t} posed like frame {s}: {fewest} pairs.", given);
}

let goTo = () => {};
let redraw = () => {};
// What `pointing` hands over: how to look from another frame, and how to draw everything.
export function connectLab(look, draw) {
  goTo = look;
  redraw = draw;
}
const goToHands = () => goTo(opened.hands.t);

function afterGuess(act) {
  act();
  redraw();
}
