// Four handles on the photograph: the box between them is the part that is used. `props.value` holds a message of
// `iasa.demo.photo_frame`; the box goes back in it, as shares of the picture's width and height.
const frame = element.querySelector(".frame"), img = element.querySelector("img"), box = element.querySelector(".box");
const LEAST = 0.1, STEP = 0.02;
let at = [0, 0, 1, 1], shown = "";

const clip = (value, low, high) => Math.min(Math.max(value, low), high);

const draw = () => {
  const [left, top, right, bottom] = at.map((share) => `${100 * share}%`);
  Object.assign(box.style, { left, top, right: `calc(100% - ${right})`, bottom: `calc(100% - ${bottom})` });
  for (const handle of box.querySelectorAll("i")) {
    const [x, y] = handle.dataset.at.split(" ");
    Object.assign(handle.style, { [x === "0" ? "left" : "right"]: 0, [y === "1" ? "top" : "bottom"]: 0 });
  }
};

// The box, moved as a whole; it stays in the picture.
const move = (dx, dy) => {
  dx = clip(dx, -at[0], 1 - at[2]);
  dy = clip(dy, -at[1], 1 - at[3]);
  at = [at[0] + dx, at[1] + dy, at[2] + dx, at[3] + dy];
};

// Two of its sides, at a corner: 0 left, 1 top, 2 right, 3 bottom.
const pull = (sides, to) => {
  for (const side of sides) {
    const other = at[side ^ 2];
    at[side] = side < 2 ? clip(to[side % 2], 0, other - LEAST) : clip(to[side % 2], other + LEAST, 1);
  }
};

const tell = () => {
  const message = JSON.parse(props.value || "{}");
  delete message.restored;
  props.value = JSON.stringify({ ...message, box: at.map((share) => Math.round(share * 1000) / 1000) });
  trigger("release");
};

box.addEventListener("pointerdown", (down) => {
  down.preventDefault();
  box.focus({ preventScroll: true });
  const sides = down.target.dataset.at?.split(" ").map(Number), area = frame.getBoundingClientRect();
  let last = [down.clientX, down.clientY];
  box.setPointerCapture(down.pointerId);
  box.onpointermove = (event) => {
    const now = [event.clientX, event.clientY];
    if (sides) pull(sides, [(now[0] - area.left) / area.width, (now[1] - area.top) / area.height]);
    else move((now[0] - last[0]) / area.width, (now[1] - last[1]) / area.height);
    last = now;
    draw();
  };
  box.onpointerup = box.onpointercancel = () => {
    box.onpointermove = box.onpointerup = box.onpointercancel = null;
    tell();
  };
});

box.addEventListener("keydown", (event) => {
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
  const grow = { "+": 1, "-": -1 }[event.key];
  if (!dx && !dy && !grow) return;
  event.preventDefault();
  if (grow) {
    pull([2, 3], [at[2] + grow * STEP, at[3] + grow * STEP]);
    pull([0, 1], [at[0] - grow * STEP, at[1] - grow * STEP]);
  } else move(dx * STEP, dy * STEP);
  draw();
  tell();
});

const update = () => {
  const message = JSON.parse(props.value || "{}");
  if ("picture" in message && message.picture !== shown) {
    shown = message.picture;
    frame.hidden = !shown;
    if (shown) img.src = `${window.gradio_config?.root ?? ""}/gradio_api/file=${encodeURI(shown)}`;
    box.setAttribute("aria-label", message.label ?? "");
  }
  at = message.box ?? [0, 0, 1, 1];
  draw();
};
watch("value", update);
update();
