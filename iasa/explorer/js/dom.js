// Elements, canvases and the dialog.

import { say } from "./i18n.js";

export const byId = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// A canvas of so many CSS pixels, sharp on any screen; returns its pen.
export function fit(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1,
    w = Math.round(width * ratio),
    h = Math.round(height * ratio);
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return pen;
}

// Without a label it is decoration, hidden from screen readers.
export function makeCanvas(id, label, parent) {
  const canvas = element("canvas", { id });
  if (label) {
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", label);
  } else canvas.setAttribute("aria-hidden", "true");
  parent.append(canvas);
  return canvas;
}

// What stands beside every figure.
export const about = (text) =>
  element("details", { class: "about" }, element("summary", {}, say("What am I looking at?")), element("p", {}, text));

// A chip, a switch or one of several choices; `act` gets whether it is on.
export function pick(kind, name, label, type, act, style = "") {
  const input = element("input", { type, name });
  input.addEventListener("change", () => act(input.checked));
  const shown = element("span", { class: kind === "seg" ? "seg" : "chip", style }, label);
  return element("label", { class: kind === "switch" ? "pick switch" : "pick" }, input, shown);
}

export function tell(text, area = null) {
  const box = byId("dialog"),
    close = element("button", { type: "button", onclick: () => box.close() }, say("Close"));
  box.replaceChildren(element("p", { style: "margin-top:0" }, text), ...(area ? [area] : []), close);
  box.showModal();
  if (area && area.select) area.select();
}

export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 5000);
}

// Where an event happened on an element, 0..1 across and down.
export function shareOf(event, target) {
  const box = target.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}
