// The sampling rate in a file's header, which decodeAudioData() does not tell.

const MP3_RATES = [44100, 48000, 32000];
const MP3_DIVISORS = [4, 0, 2, 1]; // MPEG 2.5, none, MPEG 2, MPEG 1

/** Returns the rate in Hz that a WAV, FLAC, Ogg Vorbis or MP3 file (ArrayBuffer) names; null for other files. */
export function fileRate(bytes) {
  const view = new DataView(bytes);
  const tag = (place, length) => String.fromCharCode(...new Uint8Array(bytes, place, length));
  try {
    if (tag(0, 4) === "RIFF" && tag(8, 4) === "WAVE") return wavRate(view, tag);
    if (tag(0, 4) === "fLaC") return view.getUint32(18) >>> 12;
    if (tag(0, 4) === "OggS") {
      const packet = 27 + view.getUint8(26);
      return tag(packet, 7) === "\x01vorbis" ? view.getUint32(packet + 12, true) : null;
    }
    return mp3Rate(view, tag);
  } catch (error) {
    if (error instanceof RangeError) return null; // the file ends within its header
    throw error;
  }
}

function wavRate(view, tag) {
  let place = 12;
  while (tag(place, 4) !== "fmt ") {
    const size = view.getUint32(place + 4, true);
    place += 8 + size + (size % 2);
  }
  return view.getUint32(place + 12, true);
}

function mp3Rate(view, tag) {
  let place = 0;
  if (tag(0, 3) === "ID3") {
    const size = [6, 7, 8, 9].reduce((sum, index) => sum * 128 + view.getUint8(index), 0);
    place = 10 + size;
  }
  const head = view.getUint32(place);
  const divisor = MP3_DIVISORS[(head >>> 19) & 3];
  const rate = MP3_RATES[(head >>> 10) & 3];
  const layer = (head >>> 17) & 3;
  return head >>> 21 === 0x7ff && divisor && rate && layer === 1 ? rate / divisor : null;
}
