// The page comes up: everything is made once, then drawn whenever the state says so.

import { PAGE, encode } from "./data.js";
import { say, translateTemplate } from "./i18n.js";
import { rowReasons } from "./mask.js";
import { toJson } from "./plan_text.js";
import { emit, f, grid, measured, on, plan, poses, state, timings, undoDragging } from "./state.js";
import { about, byId, pick, save } from "./dom.js";
import { readTheme } from "./colours.js";
import { forgetPlate, loadImages } from "./picture.js";
import { drawStrip, layoutStrip, scrollToFrame, strip, whereIs } from "./strip.js";
import { drawFrame } from "./frame.js";
import { showSentence } from "./sentence.js";
import { makeControls, showControls, showKey } from "./controls.js";
import { forgetMatrix } from "./matrix_view.js";
import { isGuessing } from "./guess.js";
import { connectLab } from "./lab_view.js";
import { drawView, makeViews, openView } from "./views.js";
import { drawAll, drawMask, lookFrom, release, togglePlay } from "./pointing.js";
import { onKey, showKeys } from "./keys.js";
import { onPointers } from "./pointers.js";
import { copyLink, onAddress, restore, settings } from "./address.js";
import { savePicture } from "./snapshot.js";
import { makeTour, placeTour, startTour } from "./tour.js";

function makePage() {
  translateTemplate(byId("explorer"));
  byId("scrub").max = f - 1;
  byId("strip-hint").textContent = say("{f} frames of {rows} × {cols} patches", {
    f,
    rows: grid.rows,
    cols: grid.cols,
  });
  byId("foot").textContent = PAGE.note;
  byId("frame-about").append(
    about(
      say(
        "The frame that the query patch belongs to. Colours show which region of the body each patch belongs to, read from the pose alone. Drag the white keypoints to try another pose.",
      ),
    ),
  );
  byId("strip-about").append(
    about(
      say(
        "Every frame of the clip, in latent time. Lit patches are those that the query may attend to, in the colour of the reason; dimmed frames are skipped whole. The figure beside a rank is the distance S of that pose from the query's. Computed tokens: the blue patches pass through the networks, dark ones do not and show the warped reference. Where chunks of frames are made together, a line marks the first of each.",
      ),
    ),
  );
  byId("tiles-about").append(
    about(
      say(
        "What is left of full attention, in which every patch would see every other. Token density counts the pairs that the rule allows; block density counts whole blocks, since hardware computes blocks. Computed tokens are those that pass through the networks' layers at all when only what moves is computed; the rest of a frame is the warped reference. The predicted speed-up follows from the count of operations, the measured one was timed.",
      ),
    ),
  );
  for (const [value, label] of [
    ["patch", say("What the patch sees")],
    ["regions", say("Regions")],
    ["computed", say("Computed tokens")],
  ]) {
    const made = pick("seg", "lit", label, "radio", () => showLit(value));
    made.firstChild.value = value;
    byId("shows").append(made);
  }
  connectLab(lookFrom, () => {
    byId("strip").style.touchAction = isGuessing() ? "none" : "";
    showLit();
    drawAll();
  });
  makeControls();
  makeViews();
  makeTour();
}

function showLit(value = state.lit) {
  state.lit = value;
  for (const input of document.getElementsByName("lit")) input.checked = input.value === value;
  drawStrip();
  drawFrame();
  emit("settings");
}

function useTheme() {
  readTheme();
  forgetMatrix();
}

function repaint() {
  useTheme();
  showKey();
  drawAll();
}

function changeTheme() {
  state.theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  repaint();
  emit("settings");
}

function onButtons() {
  const acts = {
    play: togglePlay,
    release,
    png: savePicture,
    link: copyLink,
    theme: changeTheme,
    "reset-pose": undoDragging,
    help: showKeys,
    "start-tour": startTour,
    json: () => save(new Blob([toJson(plan)], { type: "application/json" }), "iasa-plan.json"),
  };
  for (const [id, act] of Object.entries(acts)) byId(id).addEventListener("click", () => act());
  byId("scrub").addEventListener("input", (event) => lookFrom(Number(event.target.value), false));
  byId("scrub").addEventListener("change", () => showSentence(true));
  for (const id of ["strip", "frame", "matrix-marks"]) byId(id).addEventListener("keydown", onKey);
  onPointers();
}

function onSurroundings() {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  let shown = innerWidth;
  new ResizeObserver(() => {
    if (shown === innerWidth && strip.width === byId("scroller").clientWidth) return;
    shown = innerWidth;
    layoutStrip();
    drawAll();
    placeTour();
  }).observe(byId("explorer"));
}

function mountExplorer() {
  const started = performance.now();
  makePage();
  restore(location.hash.slice(1));
  useTheme();
  showControls();
  layoutStrip();
  openView(state.view);
  scrollToFrame(state.query.t);
  showLit();
  drawAll();
  on("pose", forgetPlate);
  on("options", showControls);
  on("mask", () => {
    forgetMatrix();
    drawMask();
  });
  onButtons();
  onSurroundings();
  onAddress(() => {
    useTheme();
    showControls();
    openView(state.view);
    showLit();
    drawAll();
  }, repaint);
  loadImages(() => {
    drawFrame();
    drawStrip();
    drawView();
  });
  timings.load = performance.now() - started;
  return { state, timings, poses, plan: () => plan, measured: () => measured, settings, whereIs, encode, rowReasons };
}

if (typeof document !== "undefined") window.iasaExplorer = mountExplorer();
