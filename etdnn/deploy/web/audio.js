// From a file to the samples that a model takes, under the limits of the Python runtime.

import { fileRate } from "./file-rate.js";
import { resample } from "./resample.js";

const CONTEXT_RATES = [3000, 768000]; // Hz: what browsers decode to

/** A recording that cannot be used; its message is for the page. */
export class BadAudio extends Error {}

/** Returns mono Float32Array samples within -1..1 of a File at `rate` Hz; throws BadAudio. */
export async function readAudio(file, rate, limits) {
  const bytes = await readBytes(file, limits);
  checkDuration(await promisedDuration(file), file.name, limits);
  const buffer = await decode(bytes, rate, file.name);
  checkDuration(buffer.duration, file.name, limits);
  const samples = resample(toMono(buffer), buffer.sampleRate, rate);
  checkSpeech(samples, rate, file.name, limits);
  return samples;
}

/** Tells whether samples never move by more than the silent peak (a constant offset is silence). */
export function isSilent(samples, limits) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of samples) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return high - low <= limits.silentPeak;
}

async function readBytes(file, limits) {
  if (file.size > limits.maxBytes) {
    const [size, most] = [file.size, limits.maxBytes].map((bytes) => (bytes / 2 ** 20).toFixed(0));
    throw new BadAudio(`${file.name}: ${size} MB; the page takes up to ${most} MB`);
  }
  let bytes;
  try {
    bytes = await file.arrayBuffer();
  } catch {
    throw new BadAudio(`${file.name}: cannot be read (a folder, or a file that has changed?)`);
  }
  if (!bytes.byteLength) throw new BadAudio(`${file.name}: an empty file`);
  return bytes;
}

/** Returns what the file's header says of its length in seconds, without decoding it; NaN where it says nothing. */
async function promisedDuration(file) {
  const url = URL.createObjectURL(file);
  const player = new Audio();
  try {
    return await new Promise((resolve) => {
      setTimeout(resolve, 5000, NaN);
      player.onloadedmetadata = () => resolve(player.duration);
      player.onerror = () => resolve(NaN);
      player.preload = "metadata";
      player.src = url;
    });
  } finally {
    player.removeAttribute("src");
    URL.revokeObjectURL(url);
  }
}

function checkDuration(seconds, name, limits) {
  if (Number.isFinite(seconds) && seconds > 60 * limits.maxMinutes) {
    const minutes = (seconds / 60).toFixed(0);
    throw new BadAudio(
      `${name}: ${minutes} minutes; the page takes up to ${limits.maxMinutes} (etdnn verify has no limit)`,
    );
  }
}

/**
 * Decodes in a context of the file's own rate, which leaves the samples as they are; where that is not known, of the
 * wanted rate, to which the browser then resamples.
 */
async function decode(bytes, wanted, name) {
  const [lowest, highest] = CONTEXT_RATES;
  const own = fileRate(bytes);
  const rate = own >= lowest && own <= highest ? own : wanted;
  try {
    return await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes);
  } catch {
    throw new BadAudio(`${name}: not audio that this browser can read`);
  }
}

function toMono(buffer) {
  const mono = buffer.getChannelData(0).slice();
  for (let channel = 1; channel < buffer.numberOfChannels; channel++) {
    const other = buffer.getChannelData(channel);
    for (let index = 0; index < mono.length; index++) mono[index] += other[index];
  }
  for (let index = 0; index < mono.length; index++) mono[index] /= buffer.numberOfChannels;
  return mono;
}

function checkSpeech(samples, rate, name, limits) {
  if (!samples.every(Number.isFinite)) throw new BadAudio(`${name}: samples that are not finite numbers`);
  if (samples.length < limits.minSeconds * rate - 1) {
    throw new BadAudio(
      `${name}: ${(samples.length / rate).toFixed(2)} s of audio; at least ${limits.minSeconds} s are needed`,
    );
  }
  if (isSilent(samples, limits)) throw new BadAudio(`${name}: silence; there is no speech in it`);
}
