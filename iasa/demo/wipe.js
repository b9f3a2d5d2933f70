// Two of the pictures that stand side by side in one video, one over the other: the first left of a line that is dragged.
// It runs once for the component; the video and its table are those of the Compare tab.
const box = element.querySelector(".wipe"), canvas = box.querySelector("canvas"), slider = box.querySelector("input");
const [left, right] = box.querySelectorAll("select");
const words = document.querySelector("#wipe-words"); // in the page's language
const STRIP = Number(box.dataset.strip) / Number(box.dataset.height); // of the video's height, where names are written
let video = null, count = 0;

const names = () => [...document.querySelectorAll("#compared-table tbody tr")].map((row) =>
  [...row.cells].slice(0, 2).map((cell) => cell.textContent.trim()).filter(Boolean).join(", "));

const draw = () => {
  if (!video || !video.videoWidth || !count) return;
  const wide = video.videoWidth / count, high = Math.round(video.videoHeight * (1 - STRIP));
  if (canvas.width !== Math.round(wide)) [canvas.width, canvas.height] = [Math.round(wide), high];
  const brush = canvas.getContext("2d"), at = Math.round((slider.value / 100) * canvas.width);
  brush.drawImage(video, right.value * wide, 0, wide, high, 0, 0, canvas.width, high);
  if (at) brush.drawImage(video, left.value * wide, 0, at, high, 0, 0, at, high);
  brush.fillStyle = "#fff";
  brush.fillRect(at - 1, 0, 2, high);
};

// Every picture of the video as it is shown, and none where it rests.
const follow = (one) => {
  if (one !== video || !one.isConnected) return;
  draw();
  if (one.requestVideoFrameCallback) one.requestVideoFrameCallback(() => follow(one));
  else requestAnimationFrame(() => follow(one));
};

const fill = () => {
  const found = names();
  for (const [select, chosen] of [[left, 0], [right, count - 1]]) {
    const kept = select.options.length === count ? select.value : chosen;
    select.replaceChildren(...Array.from({ length: count }, (_, i) => new Option(found[i] ?? String(i + 1), i)));
    select.value = kept;
  }
};

const open = (one) => {
  video = one;
  count = Math.max(1, Math.round(one.videoWidth / (one.videoHeight * (1 - STRIP))));
  box.hidden = words.hidden = count < 2;
  const said = words.textContent.trim();
  for (const [control, side] of [[slider, ""], [left, " ←"], [right, " →"]]) control.ariaLabel = said + side;
  fill();
  follow(one);
};

words.hidden = true;
document.addEventListener("loadeddata", (event) => {
  if (event.target.closest?.("#compared")) open(event.target);
}, true);
document.addEventListener("seeked", (event) => event.target === video && draw(), true);
for (const control of [slider, left, right]) control.addEventListener("input", draw);
// The table comes with the video, before or after it.
const table = document.querySelector("#compared-table");
if (table) new MutationObserver(() => count && fill()).observe(table, { childList: true, subtree: true });
