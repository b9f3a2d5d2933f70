// The one player: a still of the speaker, then pieces of the video as they are made, then the whole file in their place.
// It runs once for the component; `props.value` holds a message of `iasa.demo.player`, which says all there is to know.
const CONTROLS = { controls: true, playsInline: true, preload: "auto" };
const stage = element.querySelector(".stage"),
  still = element.querySelector("img"),
  bar = element.querySelector("progress"),
  note = element.querySelector("p");
let video = element.querySelector("video");
let run = "", waitingLine = "", buffer = null, next = 0, waiting = [], ended = false, file = "";

const toUrl = (path) => `${window.gradio_config?.root ?? ""}/gradio_api/file=${encodeURI(path)}`;
const play = (one) => one.play().catch(() => {}); // a browser may want a click first

const feed = () => {
  if (!buffer || buffer.updating) return;
  if (waiting.length) buffer.appendBuffer(waiting.shift());
  else if (ended && video.media?.readyState === "open") video.media.endOfStream();
};

// A fresh element in the place of the one that is shown, so that nothing of an earlier run is left in it.
const replace = (fresh) => {
  video.pause();
  video.replaceWith(fresh);
  video = fresh;
};

const openLive = (codecs) => {
  if (video.media || !window.MediaSource?.isTypeSupported(codecs)) return;
  const media = new MediaSource();
  replace(Object.assign(document.createElement("video"), CONTROLS, { media, hidden: true }));
  media.addEventListener("sourceopen", () => {
    buffer = media.addSourceBuffer(codecs);
    buffer.addEventListener("updateend", () => {
      if (video.paused && next < 6) play(video);
      feed();
    });
    feed();
  }, { once: true });
  video.src = URL.createObjectURL(media);
};

const begin = (message) => {
  [run, buffer, next, waiting, ended, file] = [message.name, null, 0, [], false, ""];
  replace(Object.assign(document.createElement("video"), CONTROLS, { hidden: true }));
};

const take = (pieces) => {
  for (const [number, piece] of pieces) {
    if (number !== next) continue;
    waiting.push(Uint8Array.from(atob(piece), (letter) => letter.charCodeAt(0)));
    next += 1;
  }
  feed();
};

// The whole file goes on where the pieces are; the picture stays until the file has one of the same time.
const showFile = (path) => {
  file = path;
  const was = video, fresh = Object.assign(document.createElement("video"), CONTROLS);
  fresh.addEventListener("loadeddata", () => {
    const at = was.hidden ? 0 : was.currentTime, goesOn = was.hidden || (!was.paused && !was.ended);
    const swap = () => {
      if (video !== was) return; // another run has begun
      replace(fresh);
      still.hidden = true;
      if (goesOn) play(fresh);
    };
    if (at > 0) fresh.addEventListener("seeked", swap, { once: true });
    fresh.currentTime = Math.min(at, fresh.duration);
    if (!(at > 0)) swap();
  }, { once: true });
  fresh.src = toUrl(path);
  fresh.load();
};

const update = () => {
  const message = JSON.parse(props.value || "{}");
  if (!message.name) { // the chosen speaker, where nothing else is shown
    if (message.still && !run) [still.src, still.hidden] = [toUrl(message.still), false];
    return;
  }
  if (message.name !== run) begin(message);
  if (message.codecs && !file) openLive(message.codecs);
  if (message.poster) still.src = message.poster;
  ended = message.ended;
  take(message.pieces ?? []);
  if (next && video.media) video.hidden = false;
  still.hidden = !still.src || !video.hidden;
  note.textContent = message.note ?? "";
  waitingLine = message.waiting ?? "";
  bar.value = message.share ?? 0;
  bar.classList.toggle("idle", message.share == null);
  stage.toggleAttribute("aria-busy", message.share != null);
  if (message.file && message.file !== file) showFile(message.file);
};
watch("value", update);
update();

// While a run waits behind others, the page knows its place; gradio writes it over the component, where it is hidden.
const showPlace = () => {
  const found = /queue: (\d+)\/(\d+) \|\s*[\d.]+(?:\/([\d.]+))?s/.exec(tracker.textContent);
  if (!found || !waitingLine) return;
  const [line, seconds] = waitingLine.split("|");
  note.textContent = line.replace("{place}", found[1]).replace("{all}", found[2]);
  if (found[3]) note.textContent += seconds.replace("{seconds}", Math.round(found[3]));
};
const tracker = element.closest(".block")?.querySelector("[data-testid=status-tracker]");
if (tracker) new MutationObserver(showPlace).observe(tracker, { childList: true, characterData: true, subtree: true });
