"""Compare two recordings with an exported model: NumPy and onnxruntime only, no other part of etdnn.

python3 onnx_example.py model.wave.onnx a.wav b.wav      (16-bit PCM WAV at the model's sampling rate)

Needs the waveform form: etdnn export model.safetensors model.wave.onnx --form wave
"""

import json
import sys
import wave

import numpy as np
import onnxruntime


def read_wav(path: str, rate: int) -> np.ndarray:
    """Return float32 samples within -1..1, channels averaged."""
    with wave.open(path, "rb") as file:
        if file.getframerate() != rate or file.getsampwidth() != 2:
            sys.exit(f"{path}: 16-bit PCM at {rate} Hz is needed")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
    return (samples.astype(np.float32) / 32768).mean(axis=1)


def main(model: str, *paths: str) -> None:
    """Print the score and, where the model has a threshold, the decision as JSON."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    properties = session.get_modelmeta().custom_metadata_map
    about = json.loads(properties["etdnn"])
    if about["form"] != "wave":
        sys.exit(f"{model}: takes fbank features; export it with --form wave")
    rate = int(properties["sample_rate"])
    a, b = (session.run(None, {"x": read_wav(path, rate)[None]})[0][0] for path in paths)
    score = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    threshold = about["threshold"]
    print(
        json.dumps({"score": score, "threshold": threshold, "same": None if threshold is None else score >= threshold})
    )


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
