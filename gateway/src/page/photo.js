// The ways in which a photo comes: dropped, chosen, pasted, or taken by the camera.

import { byId, setText } from "./dom.js";

/** Calls `onPhoto` with a File for each photo that the user gives. */
export function preparePhotoInputs(onPhoto) {
  for (const id of ["file", "capture"]) {
    byId(id).addEventListener("change", (event) => {
      const [file] = event.target.files;
      if (file) onPhoto(file);
      // The same file may be chosen again.
      event.target.value = "";
    });
  }
  byId("choose").addEventListener("click", () => byId("file").click());
  prepareDrop(onPhoto);
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((it) => it.type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    onPhoto(file);
  });
  prepareCamera(onPhoto);
}

function prepareDrop(onPhoto) {
  let depth = 0;
  const target = byId("drop");
  const over = (change) => {
    depth = Math.max(0, depth + change);
    target.classList.toggle("over", depth > 0);
  };
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  // Anywhere on the page: a photo that misses the box would replace the page otherwise.
  document.addEventListener("dragenter", (event) => hasFiles(event) && over(1));
  document.addEventListener("dragleave", (event) => hasFiles(event) && over(-1));
  document.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    over(-depth);
    const [file] = event.dataTransfer.files;
    if (file) onPhoto(file);
  });
}

function prepareCamera(onPhoto) {
  const dialog = byId("camera-dialog");
  const video = byId("video");
  const stop = () => {
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  };
  byId("camera").addEventListener("click", async () => {
    // Browsers give the camera only to pages over HTTPS or from this machine; phones offer theirs as a source of files.
    if (!navigator.mediaDevices?.getUserMedia) {
      byId("capture").click();
      return;
    }
    setText(byId("camera-error"), "");
    byId("shoot").disabled = true;
    dialog.showModal();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } }, audio: false });
      video.srcObject = stream;
      if (!dialog.open) stop();
      byId("shoot").disabled = false;
    } catch (cause) {
      const refused = cause.name === "NotAllowedError";
      setText(byId("camera-error"), refused
        ? "The browser does not allow the camera. Allow it in the address bar, then try again, or choose a photo."
        : "No camera was found. Choose a photo instead.");
    }
  });
  byId("shoot").addEventListener("click", () => {
    if (video.videoWidth === 0) return;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob((blob) => {
      dialog.close();
      const name = `camera-${new Date().toISOString().replace(/[:.]/g, "-")}.jpg`;
      if (blob) onPhoto(new File([blob], name, { type: "image/jpeg" }));
    }, "image/jpeg", 0.92);
  });
  byId("camera-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", stop);
}
