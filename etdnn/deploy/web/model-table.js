// The models to choose from, a row each, with what each found on the present two recordings.

export class ModelTable {
  /** Fills `body` (a tbody); `onchoose()` is called when another model is chosen. */
  constructor(body, models, onchoose) {
    this.models = models;
    this.cells = new Map();
    models.forEach((model, index) => body.append(this.#row(model, index === 0, onchoose)));
    this.chosen = models[0];
  }

  /** Writes a result into its model's row. */
  show(model, { score, decision, milliseconds }) {
    const cells = this.cells.get(model);
    cells.score.textContent = score;
    cells.decision.textContent = decision;
    cells.time.textContent = milliseconds;
  }

  /** Empties the results of all rows: the recordings have changed. */
  forget() {
    for (const model of this.models) this.show(model, { score: "", decision: "", milliseconds: "" });
  }

  #row(model, first, onchoose) {
    const row = document.createElement("tr");
    const radio = Object.assign(document.createElement("input"), {
      type: "radio",
      name: "model",
      value: model.name,
      checked: first,
    });
    radio.addEventListener("change", () => {
      this.chosen = model;
      onchoose();
    });
    const label = document.createElement("label");
    label.append(radio, model.name);
    label.title = model.arch;
    const head = Object.assign(document.createElement("th"), { scope: "row" });
    head.append(label);
    row.append(head);
    const add = (text, side) => {
      const cell = Object.assign(document.createElement("td"), { textContent: text, className: side });
      row.append(cell);
      return cell;
    };
    add(model.macs, "right");
    add(model.params, "right");
    add(megabytes(model), "right");
    this.cells.set(model, { score: add("", "right"), decision: add("", ""), time: add("", "right") });
    return row;
  }
}

/** Returns the size of a model's file in MB. */
export function megabytes(model) {
  return (model.bytes / 1e6).toFixed(1);
}
