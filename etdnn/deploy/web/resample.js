// Resampling as the Python runtime does it (scipy.signal.resample_poly): a model hears what a resampler leaves of the
// bands that the file has not, so that another filter moves the score.

const BETA = 5; // of the Kaiser window
const ZEROS = 10; // zero crossings of the filter on either side, at the lower of the two rates

/** Returns Float32Array samples, given at rate `from`, at rate `to` (whole Hz). */
export function resample(samples, from, to) {
  if (from === to) return samples;
  const divisor = greatestCommonDivisor(from, to);
  const up = to / divisor;
  const down = from / divisor;
  const filter = lowPass(Math.max(up, down), up);
  const half = (filter.length - 1) / 2;
  const result = new Float32Array(Math.ceil((samples.length * up) / down));
  for (let index = 0; index < result.length; index++) {
    const centre = index * down; // in steps of the common multiple of both rates
    const first = Math.max(0, Math.ceil((centre - half) / up));
    const last = Math.min(samples.length - 1, Math.floor((centre + half) / up));
    let sum = 0;
    for (let place = first; place <= last; place++) sum += samples[place] * filter[centre - place * up + half];
    result[index] = sum;
  }
  return result;
}

/** Returns a windowed sinc that passes 1 / `narrowing` of the band, its taps summing to `gain`. */
function lowPass(narrowing, gain) {
  const half = ZEROS * narrowing;
  const taps = Float64Array.from({ length: 2 * half + 1 }, (_, index) => {
    const time = (index - half) / narrowing;
    const sinc = time === 0 ? 1 : Math.sin(Math.PI * time) / (Math.PI * time);
    return sinc * bessel(BETA * Math.sqrt(1 - ((index - half) / half) ** 2));
  });
  const sum = taps.reduce((total, tap) => total + tap, 0);
  return taps.map((tap) => (tap * gain) / sum);
}

/** Returns the modified Bessel function of the first kind and order 0. */
function bessel(x) {
  let term = 1;
  let sum = 1;
  for (let index = 1; term > 1e-12 * sum; index++) {
    term *= (x / (2 * index)) ** 2;
    sum += term;
  }
  return sum;
}

function greatestCommonDivisor(a, b) {
  return b ? greatestCommonDivisor(b, a % b) : a;
}
