// onnxruntime-web: samples to embeddings.

import * as ort from "./ort/ort.wasm.min.mjs";
import { BadAudio, isSilent } from "./audio.js";

// One thread: several need shared memory, which a browser gives only to pages that are served with special headers.
// On the page's own thread: a worker would not be bound by the policy in the page's head.
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL("ort/", import.meta.url).href;
ort.env.logLevel = "error";

const WARM_UP_SECONDS = 1;

/** Holds one session at a time, and the embeddings of recordings for as long as those are there. */
export class Engine {
  constructor(limits) {
    this.limits = limits;
    this.known = new WeakMap(); // samples -> Map of model file -> embedding
    this.loaded = null;
    this.queue = Promise.resolve();
  }

  /**
   * Returns {vector, milliseconds} of samples: the duration-weighted mean over windows where they are long.
   * `say` is told what is being done; when `stale()` the work is dropped and null returned.
   */
  embed(model, samples, { say, stale, name }) {
    const work = this.queue.then(() => this.#embed(model, samples, say, stale, name));
    this.queue = work.catch(() => {});
    return work;
  }

  async #embed(model, samples, say, stale, name) {
    if (stale()) return null;
    if (!this.known.has(samples)) this.known.set(samples, new Map());
    const known = this.known.get(samples);
    if (known.has(model.file)) return known.get(model.file);
    const session = await this.#session(model, say);
    const pieces = cutWindows(samples, model.rate, this.limits);
    const total = new Float64Array(session.dim); // not divided by the duration: a cosine has no length
    let milliseconds = 0;
    for (const [index, piece] of pieces.entries()) {
      if (stale()) return null;
      if (pieces.length > 1 && isSilent(piece, this.limits)) continue;
      say(`recording ${name}${pieces.length > 1 ? `, part ${index + 1} of ${pieces.length}` : ""} …`);
      await painted();
      const start = performance.now();
      const vector = await session.run(piece);
      milliseconds += performance.now() - start;
      for (let place = 0; place < total.length; place++) total[place] += piece.length * vector[place];
    }
    if (!total.some(Boolean)) throw new BadAudio(`recording ${name}: silence; there is no speech in it`);
    const result = { vector: total, milliseconds };
    known.set(model.file, result);
    return result;
  }

  async #session(model, say) {
    if (this.loaded?.file === model.file) return this.loaded;
    await this.loaded?.release();
    this.loaded = null;
    say("loading …");
    await painted();
    this.loaded = await Session.open(model);
    return this.loaded;
  }
}

/** A model in onnxruntime-web. */
class Session {
  static async open(model) {
    const made = new Session();
    try {
      made.session = await ort.InferenceSession.create(model.file, { executionProviders: ["wasm"] });
      made.file = model.file;
      const seconds = Float32Array.from({ length: WARM_UP_SECONDS * model.rate }, () => Math.random() - 0.5);
      made.dim = (await made.run(seconds)).length; // also: the first run makes what later ones find
    } catch (error) {
      throw new Error(`${model.name}: the model cannot be loaded (${error.message})`);
    }
    return made;
  }

  async run(samples) {
    const x = new ort.Tensor("float32", samples, [1, samples.length]);
    const { embedding } = await this.session.run({ x });
    return embedding.data;
  }

  release() {
    return this.session.release();
  }
}

/**
 * Cuts samples as the Python runtime does: whole up to `wholeSeconds`; above, in windows of `windowSeconds`, a rest
 * shorter than `restSeconds` joining the window before it.
 */
export function cutWindows(samples, rate, limits) {
  if (samples.length <= limits.wholeSeconds * rate) return [samples];
  const size = Math.round(limits.windowSeconds * rate);
  const pieces = [];
  for (let start = 0; start < samples.length; start += size) {
    const rest = samples.length - start - size;
    const end = rest < limits.restSeconds * rate ? samples.length : start + size;
    pieces.push(samples.subarray(start, end));
    if (end === samples.length) break;
  }
  return pieces;
}

/** Returns the cosine of two vectors. */
export function cosine(a, b) {
  let both = 0;
  let left = 0;
  let right = 0;
  for (let index = 0; index < a.length; index++) {
    both += a[index] * b[index];
    left += a[index] * a[index];
    right += b[index] * b[index];
  }
  return both / Math.sqrt(left * right);
}

/** Resolves when the browser has shown what was written so far, also in a tab that is not seen. */
function painted() {
  return new Promise((resolve) => {
    const next = () => setTimeout(resolve);
    if (document.hidden) next();
    else requestAnimationFrame(next);
  });
}
