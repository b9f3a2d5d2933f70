// The visitor's own pose as the query frame's: mediapipe's program and model are loaded when asked for, and only on pages
// that were made so. Pictures stay in the browser.

import { PAGE, RULE } from "./data.js";
import { say } from "./i18n.js";
import { fitToShoulders, readHolistic } from "./holistic.js";
import { poseChanged, poses, state } from "./state.js";
import { byId, element } from "./dom.js";
import { placeOf } from "./limbs.js";

const SIZE = { width: 640, height: 480 }; // of the camera's pictures
let landmarker = null,
  running = null; // the camera's stream

const tellCamera = (text) => {
  byId("camera-score").textContent = text;
};

async function loadLandmarker() {
  const { library, model } = PAGE.camera,
    { FilesetResolver, HolisticLandmarker } = await import(`${library}/vision_bundle.mjs`),
    files = await FilesetResolver.forVisionTasks(`${library}/wasm`);
  return HolisticLandmarker.createFromOptions(files, { baseOptions: { modelAssetPath: model }, runningMode: "VIDEO" });
}

export async function startCamera() {
  if (running) return;
  if (!navigator.mediaDevices) {
    tellCamera(say("This browser gives the page no camera."));
    return;
  }
  byId("camera-start").hidden = true;
  try {
    tellCamera(say("Waiting for the camera."));
    running = await navigator.mediaDevices.getUserMedia({ video: SIZE, audio: false });
    tellCamera(say("Loading mediapipe."));
    landmarker ||= await loadLandmarker();
  } catch (error) {
    const why = running ? say("mediapipe could not be loaded: {why}", { why: error.message || error }) : say("The camera was not given: {why}", { why: error.message || error });
    stopCamera();
    tellCamera(why);
    return;
  }
  const video = element("video", { muted: true, playsInline: true, srcObject: running });
  byId("camera-stop").hidden = false;
  await video.play();
  follow(video);
}

export function stopCamera() {
  if (running) for (const track of running.getTracks()) track.stop();
  running = null;
  byId("camera-start").hidden = false;
  byId("camera-stop").hidden = true;
  tellCamera("");
}

// Each picture's pose becomes the query frame's, with the speaker's shoulders.
function follow(video) {
  if (!running) return;
  const found = landmarker.detectForVideo(video, performance.now());
  tellCamera(takePose(readHolistic(found, video.videoWidth, video.videoHeight)) ? say("Your pose is the query frame's.") : say("No shoulders are seen: step back."));
  requestAnimationFrame(() => follow(video));
}

function takePose(points) {
  const { t } = state.query,
    [left, right] = [RULE.joints.left_shoulder, RULE.joints.right_shoulder].map((joint) =>
      placeOf(t, joint).map((v, c) => v * poses.extent[c]),
    ),
    fitted = fitToShoulders(points, left, right);
  if (!fitted) return false;
  fitted.forEach(([x, y, sure], i) => {
    const at = t * RULE.points + i;
    poses.xy[2 * at] = x / poses.extent[0];
    poses.xy[2 * at + 1] = y / poses.extent[1];
    poses.confidence[at] = sure;
  });
  poseChanged(t);
  return true;
}
