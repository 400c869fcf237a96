// The page: two recordings, one of several models, what it says of them.

import { makeClip } from "./clip.js";
import { cosine, Engine } from "./engine.js";
import { ModelTable } from "./model-table.js";
import { describe, showResult, showProgress } from "./result.js";

const trouble = document.querySelector("#trouble");

/** Shows what no part of the page can show: the page itself does not work. */
function complain(text) {
  trouble.textContent = text;
  trouble.hidden = false;
}

async function start() {
  const answer = await fetch("models.json");
  if (!answer.ok) throw new Error(`models.json: ${answer.status}`);
  const { limits, models } = await answer.json();
  const engine = new Engine(limits);
  const clips = ["A", "B"].map((name) => makeClip(name, limits, models[0].rate, compare));
  const table = new ModelTable(document.querySelector("#models"), models, compare);
  document.querySelector("#clips").append(...clips.map((clip) => clip.element));
  takeDrops(clips);
  let turn = 0;

  /** Compares the recordings with the chosen model; a newer call makes an older one stop. */
  async function compare({ changed = false } = {}) {
    const mine = ++turn;
    const stale = () => mine !== turn;
    if (changed) table.forget();
    const model = table.chosen;
    trouble.hidden = true;
    if (!clips.every((clip) => clip.ready)) {
      showResult(null);
      return;
    }
    try {
      const found = [];
      for (const clip of clips) {
        const say = (text) => stale() || showProgress(`${model.name}: ${text}`);
        found.push(await engine.embed(model, await clip.samples(model.rate), { say, stale, name: clip.name }));
        if (stale()) return;
      }
      const score = cosine(found[0].vector, found[1].vector);
      const result = describe(model, score, found[0].milliseconds + found[1].milliseconds);
      table.show(model, result);
      showResult(result);
    } catch (error) {
      if (stale()) return;
      showResult(null);
      complain(error.message);
    }
  }

  showResult(null);
}

/** Gives dropped files to the recording they fall on; two at once, or beside the recordings, to both in turn. */
function takeDrops(clips) {
  const target = (event) => clips.find((clip) => clip.element.contains(event.target));
  const mark = (over) => clips.forEach((clip) => clip.element.classList.toggle("over", clip === over));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    mark(target(event));
  });
  addEventListener("dragleave", () => mark(null));
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(null);
    const [first, second] = event.dataTransfer.files;
    if (!first) return;
    if (second) {
      clips[0].take(first);
      clips[1].take(second);
    } else {
      (target(event) ?? clips.find((clip) => !clip.ready) ?? clips[0]).take(first);
    }
  });
}

start().catch((error) => complain(`The page could not start: ${error.message}`));
