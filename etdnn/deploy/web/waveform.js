// A waveform on a canvas: the lowest and highest sample of each column, against the loudest of all.

/** Draws samples in the canvas's own text colour. */
export function drawWaveform(canvas, samples) {
  const ratio = devicePixelRatio || 1;
  const width = (canvas.width = Math.round(canvas.clientWidth * ratio));
  const height = (canvas.height = Math.round(canvas.clientHeight * ratio));
  const pen = canvas.getContext("2d");
  pen.fillStyle = getComputedStyle(canvas).color;
  let peak = 0;
  for (const value of samples) peak = Math.max(peak, Math.abs(value));
  for (let column = 0; column < width; column++) {
    const start = Math.floor((column * samples.length) / width);
    const end = Math.max(start + 1, Math.floor(((column + 1) * samples.length) / width));
    let low = Infinity;
    let high = -Infinity;
    for (let index = start; index < end; index++) {
      if (samples[index] < low) low = samples[index];
      if (samples[index] > high) high = samples[index];
    }
    const top = (1 - high / peak) * (height / 2);
    const bottom = (1 - low / peak) * (height / 2);
    pen.fillRect(column, top, 1, Math.max(ratio, bottom - top));
  }
}
