// One of the two recordings: its file or microphone, waveform, player and message.

import { readAudio } from "./audio.js";
import { MAX_SECONDS, missingMicrophone, startRecording } from "./recorder.js";
import { drawWaveform } from "./waveform.js";

/**
 * Returns a recording's part of the page. `element` belongs into the document, `take(file)` gives it a file,
 * `ready` says that it can be compared, `samples(rate)` are its samples. `onchange({changed})` is told of any change.
 */
export function makeClip(name, limits, rate, onchange) {
  const element = document.querySelector("#clip").content.cloneNode(true).firstElementChild;
  const part = (selector) => element.querySelector(selector);
  const [title, input, button, label, canvas, player, message] = [
    "h2", "input", ".record", ".name", "canvas", "audio", ".message",
  ].map(part);
  title.textContent = `Recording ${name}`;
  title.id = `clip-${name}`;
  element.setAttribute("aria-labelledby", title.id);
  input.setAttribute("aria-label", `Choose a file for recording ${name}`);
  button.setAttribute("aria-label", `Record recording ${name}`);
  let file = null;
  let decoded = new Map(); // sampling rate -> samples
  let turn = 0;

  const clip = {
    element,
    name,
    ready: false,
    take,
    async samples(wanted) {
      if (!decoded.has(wanted)) decoded.set(wanted, await readAudio(file, wanted, limits));
      return decoded.get(wanted);
    },
  };

  async function take(given) {
    const mine = ++turn;
    clear();
    label.textContent = `reading ${given.name} …`;
    try {
      const samples = await readAudio(given, rate, limits);
      if (mine !== turn) return;
      file = given;
      decoded.set(rate, samples);
      show(samples);
    } catch (error) {
      if (mine !== turn) return;
      label.textContent = "no recording";
      complain(error.message);
    }
    onchange({ changed: true });
  }

  function clear() {
    clip.ready = false;
    file = null;
    decoded = new Map();
    message.hidden = canvas.hidden = player.hidden = true;
    if (player.src) URL.revokeObjectURL(player.src);
    player.removeAttribute("src");
    onchange({ changed: true });
  }

  function show(samples) {
    const seconds = (samples.length / rate).toFixed(1);
    label.textContent = `${file.name}, ${seconds} s`;
    canvas.hidden = player.hidden = false;
    canvas.setAttribute("aria-label", `Waveform of ${file.name}, ${seconds} seconds`);
    player.setAttribute("aria-label", `Play recording ${name}`);
    player.src = URL.createObjectURL(file);
    drawWaveform(canvas, samples);
    clip.ready = true;
  }

  function complain(text) {
    message.textContent = text;
    message.hidden = false;
  }

  input.addEventListener("change", () => {
    if (input.files[0]) take(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
  addRecordButton(button, name, {
    onstart() {
      message.hidden = true;
      input.disabled = true;
    },
    ontick: (seconds) => (label.textContent = `recording: ${seconds.toFixed(0)} s of at most ${MAX_SECONDS} s`),
    ondone: (recorded) => {
      input.disabled = false;
      take(recorded);
    },
    onerror: complain,
  });
  new ResizeObserver(() => redraw()).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());
  const redraw = () => clip.ready && drawWaveform(canvas, decoded.get(rate));
  return clip;
}

/** Makes `button` start and stop a recording. */
function addRecordButton(button, name, { onstart, ontick, ondone, onerror }) {
  const missing = missingMicrophone();
  if (missing) {
    button.disabled = true;
    button.title = missing;
    return;
  }
  let recording = null;
  const mark = (on) => {
    button.classList.toggle("recording", on);
    button.textContent = on ? "Stop" : "Record";
    button.setAttribute("aria-label", `${on ? "Stop" : "Record"} recording ${name}`);
  };
  const stop = async () => {
    const ended = recording;
    recording = null;
    mark(false);
    ondone(await ended.stop());
  };
  button.addEventListener("click", async () => {
    if (recording) {
      await stop();
      return;
    }
    button.disabled = true;
    try {
      recording = await startRecording(name, ontick, stop);
      onstart();
      mark(true);
    } catch (error) {
      onerror(error.message);
    }
    button.disabled = false;
  });
}
