// The page comes up: everything is made once, then drawn whenever the state says so.

import { PAGE, encode } from "./data.js";
import { say, translateTemplate } from "./i18n.js";
import { rowReasons } from "./mask.js";
import { toJson } from "./plan_text.js";
import { emit, f, grid, measured, on, plan, poses, state, timings, undoDragging } from "./state.js";
import { about, byId, pick, save } from "./dom.js";
import { readTheme } from "./colours.js";
import { forgetPlate, loadImages } from "./picture.js";
import { drawStrip, layoutStrip, strip, whereIs } from "./strip.js";
import { drawFrame } from "./frame.js";
import { showSentence } from "./sentence.js";
import { makeControls, showControls, showKey } from "./controls.js";
import { forgetMatrix } from "./matrix_view.js";
import { drawView, makeViews, openView } from "./views.js";
import { drawAll, lookFrom, release, togglePlay } from "./pointing.js";
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
        "Every frame of the clip, in latent time. Lit patches are those that the query may attend to, in the colour of the reason; dimmed frames are skipped whole. The figure beside a rank is the distance S of that pose from the query's.",
      ),
    ),
  );
  byId("tiles-about").append(
    about(
      say(
        "What is left of full attention, in which every patch would see every other. Token density counts the pairs that the rule allows; block density counts whole blocks, since hardware computes blocks. The predicted speed-up follows from the count of operations, the measured one was timed.",
      ),
    ),
  );
  for (const [value, label] of [
    ["patch", say("What the patch sees")],
    ["regions", say("Regions")],
  ]) {
    const made = pick("seg", "lit", label, "radio", () => {
      state.lit = value;
      drawStrip();
    });
    made.firstChild.checked = state.lit === value;
    byId("shows").append(made);
  }
  makeControls();
  makeViews();
  makeTour();
}

function useTheme() {
  readTheme();
  forgetMatrix();
}

function changeTheme() {
  state.theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  useTheme();
  showKey();
  drawAll();
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
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    useTheme();
    drawAll();
  });
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
  drawAll();
  on("pose", forgetPlate);
  on("options", showControls);
  on("mask", () => {
    forgetMatrix();
    drawAll();
  });
  onButtons();
  onSurroundings();
  onAddress(() => {
    useTheme();
    showControls();
    openView(state.view);
    drawAll();
  });
  loadImages(() => {
    drawFrame();
    drawStrip();
    drawView();
  });
  timings.load = performance.now() - started;
  return { state, timings, poses, plan: () => plan, measured: () => measured, settings, whereIs, encode, rowReasons };
}

if (typeof document !== "undefined") window.iasaExplorer = mountExplorer();
