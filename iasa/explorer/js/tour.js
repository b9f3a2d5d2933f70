// A guided tour of six steps. Enter or the right arrow goes on, the left arrow back, Esc leaves it.

import { clamp } from "./data.js";
import { say } from "./i18n.js";
import { byId, element } from "./dom.js";
import { openView } from "./views.js";

// What each step is about, what it says, and what it opens first.
const STEPS = [
  {
    at: "frame-card",
    title: "The query frame",
    text: "Point at any patch of this frame: it becomes the query, the patch that looks. Coloured patches belong to a region of the body. Drag a white keypoint and the whole mask follows.",
    open: null,
  },
  {
    at: "strip-card",
    title: "What it sees",
    text: "All frames of the clip. Whatever lights up is what the query may attend to: its own frame, the reference (the sink), and matching regions of the K past frames with the most similar pose.",
    open: null,
  },
  {
    at: "say-card",
    title: "Why",
    text: "Click a patch to hold the query, then point at a second one. This sentence says why the query does or does not see it.",
    open: null,
  },
  {
    at: "controls",
    title: "The rules",
    text: "Change K, switch regions or rules off, choose larger blocks. Everything on the page is computed anew at once.",
    open: null,
  },
  {
    at: "views-card",
    title: "The whole mask",
    text: "The attention matrix: rows look, columns are seen. The other tabs show pose similarity, density over time, learned attention, and a second mask beside this one.",
    open: "matrix",
  },
  {
    at: "tiles",
    title: "What it saves",
    text: "How much of the attention is left, in pairs and in blocks, and how much faster that makes it. Copy link keeps everything as you have set it.",
    open: null,
  },
];
let step = -1,
  before = null; // the step that is shown; what had the focus before the tour

export function makeTour() {
  const button = (id, label, act) => element("button", { type: "button", id, onclick: act }, say(label));
  byId("tour-buttons").append(
    button("tour-skip", "Skip the tour", endTour),
    button("tour-back", "Back", () => showStep(step - 1)),
    button("tour-next", "Next", () => showStep(step + 1)),
  );
  byId("tour").addEventListener("keydown", (event) => {
    const act = {
      ArrowRight: () => showStep(step + 1),
      ArrowLeft: () => showStep(Math.max(0, step - 1)),
      Escape: endTour,
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

export function startTour() {
  before = document.activeElement;
  showStep(0);
}

function showStep(number) {
  markTarget(false);
  if (number >= STEPS.length) {
    endTour();
    return;
  }
  step = number;
  const { title, text, open } = STEPS[step],
    last = step === STEPS.length - 1;
  if (open) openView(open);
  byId("tour-count").textContent = say("Step {i} of {all}", { i: step + 1, all: STEPS.length });
  byId("tour-title").textContent = say(title);
  byId("tour-text").textContent = say(text);
  byId("tour-back").disabled = step === 0;
  byId("tour-skip").hidden = last;
  byId("tour-next").textContent = say(last ? "Done" : "Next");
  byId("tour").hidden = false;
  byId("announce").textContent = `${say(title)}. ${say(text)}`;
  markTarget(true);
  placeTour();
  byId("tour-next").focus({ preventScroll: true });
}

function markTarget(shown) {
  if (step >= 0) byId(STEPS[step].at).classList.toggle("toured", shown);
}

// Under its target or, where there is no room, over its lower end; the target comes into sight first.
export function placeTour() {
  if (step < 0) return;
  const target = byId(STEPS[step].at),
    box = byId("tour"),
    gap = 10;
  target.scrollIntoView({ block: target.offsetHeight > innerHeight - box.offsetHeight ? "start" : "center" });
  const page = byId("explorer").getBoundingClientRect(),
    place = target.getBoundingClientRect();
  const left = clamp(place.left + gap, gap, Math.max(gap, innerWidth - box.offsetWidth - gap));
  const top = clamp(place.bottom + gap, gap, Math.max(gap, innerHeight - box.offsetHeight - gap));
  box.style.left = `${left - page.left}px`;
  box.style.top = `${top - page.top}px`;
  box.scrollIntoView({ block: "nearest" }); // of the page around, where this one is in a frame as high as itself
}

function endTour() {
  markTarget(false);
  step = -1;
  byId("tour").hidden = true;
  if (before) before.focus();
}
