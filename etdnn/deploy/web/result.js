// What the page says of two recordings.

import { megabytes } from "./model-table.js";

const part = (name) => document.querySelector(`#${name}`);

/** Returns a comparison in words: score, decision (from the threshold on: the same speaker), times. */
export function describe(model, score, milliseconds) {
  const known = model.threshold !== null;
  const same = known && score >= model.threshold;
  return {
    model,
    value: score,
    score: score.toFixed(4),
    kind: known ? (same ? "same" : "different") : "unknown",
    decision: known ? (same ? "same" : "different") : "none",
    milliseconds: milliseconds.toFixed(0),
  };
}

const SENTENCES = {
  same: "Same speaker",
  different: "Different speakers",
  unknown: "No decision: the model has no threshold",
};

/** Shows a result, or with null that there is none. */
export function showResult(result) {
  part("result").className = result?.kind ?? "";
  part("decision").textContent = result ? SENTENCES[result.kind] : "Two recordings are needed.";
  part("numbers").hidden = !result;
  showProgress("");
  if (!result) return;
  const { model } = result;
  part("score").textContent = result.score;
  part("score").dataset.value = result.value;
  part("threshold").textContent = model.threshold === null ? "none" : model.threshold.toFixed(4);
  part("origin").textContent = model.origin;
  part("time").textContent = `${result.milliseconds} ms`;
  part("size").textContent = `${megabytes(model)} MB`;
  place(part("scale").querySelector(".score"), result.value);
  place(part("scale").querySelector(".limit"), model.threshold);
}

/** Says what is being done; "" when nothing is. */
export function showProgress(text) {
  part("progress").textContent = text;
  part("result").setAttribute("aria-busy", Boolean(text));
}

/** Puts a mark on the scale from -1 to 1. */
function place(mark, value) {
  mark.hidden = value === null;
  mark.style.left = `${50 * (1 + Math.max(-1, Math.min(1, value ?? 0)))}%`;
}
