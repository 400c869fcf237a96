// The microphone: samples as they come, without a lossy codec in between, as a WAV file.

export const MAX_SECONDS = 60;

const REASONS = {
  NotAllowedError: "the microphone was not allowed",
  NotFoundError: "there is no microphone",
  NotReadableError: "the microphone is in use by another program",
};

/** Returns why no recording is possible in this page, or "". */
export function missingMicrophone() {
  if (!isSecureContext) return "recording needs https or localhost";
  return navigator.mediaDevices && window.AudioWorkletNode ? "" : "this browser cannot record";
}

/**
 * Starts a recording; its `stop()` returns a File. `ontick(seconds)` is told how long it is, `onfull()` is called when
 * it has its full length. Nothing is cleaned or levelled: that would take away from the voice.
 */
export async function startRecording(name, ontick, onfull) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
  } catch (error) {
    throw new Error(`no recording: ${REASONS[error.name] ?? error.message}`);
  }
  const context = new AudioContext();
  const end = () => {
    for (const track of stream.getTracks()) track.stop();
    return context.close();
  };
  try {
    await context.audioWorklet.addModule("recorder-worklet.js");
  } catch (error) {
    await end();
    throw new Error(`no recording: ${error.message}`);
  }
  const source = context.createMediaStreamSource(stream);
  const tap = new AudioWorkletNode(context, "tap", {
    numberOfOutputs: 0,
    channelCount: 1,
    channelCountMode: "explicit",
  });
  const blocks = [];
  let count = 0;
  let full = false;
  tap.port.onmessage = ({ data }) => {
    if (full) return;
    blocks.push(data);
    count += data.length;
    ontick(count / context.sampleRate);
    full = count >= MAX_SECONDS * context.sampleRate;
    if (full) onfull();
  };
  source.connect(tap);
  return {
    async stop() {
      const rate = context.sampleRate;
      await end();
      return new File([wavFile(blocks, count, rate)], `recording ${name}.wav`, { type: "audio/wav" });
    },
  };
}

/** Returns a WAV file (16 bit, mono) of blocks of samples within -1..1, `count` in all. */
function wavFile(blocks, count, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * count));
  const text = (place, word) => {
    [...word].forEach((letter, index) => view.setUint8(place + index, letter.charCodeAt(0)));
  };
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * count, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // bytes of this chunk
  view.setUint16(20, 1, true); // integers
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true); // bytes a second
  view.setUint16(32, 2, true); // bytes a frame
  view.setUint16(34, 16, true); // bits a sample
  text(36, "data");
  view.setUint32(40, 2 * count, true);
  let place = 44;
  for (const block of blocks) {
    for (const value of block) {
      view.setInt16(place, Math.round(Math.max(-1, Math.min(1, value)) * 32767), true);
      place += 2;
    }
  }
  return view.buffer;
}
