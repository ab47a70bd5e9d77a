"""The commands `weights`, `import` and `export`: those of the package, and other programs'."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from autoenc_sg.cli.options import Command
from autoenc_sg.core.errors import bad_input


@dataclass(frozen=True)
class ImportCommand:
    """Options of `import`.

    Attributes:
        kind: the program whose weights they are.
        file: the weights, such as vg64.pt, vg-faster-rcnn.tar or a .pth file.
        out: folder to write our files to.
    """

    kind: Literal["sg2im", "motifs-detector", "graph-rcnn-detector"]
    file: Path
    out: Path = field(kw_only=True)


@dataclass(frozen=True)
class ExportCommand:
    """Options of `export`.

    Attributes:
        kind: the program that is to read the weights: `sg2im`, or `onnx`, for onnxruntime.
        checkpoint: a trained model: a run's folder, or a checkpoint file.
        out: file to write; of `onnx` a new folder.
        photos: of `onnx`: also parsed by PyTorch and onnxruntime, and compared.
    """

    kind: Literal["sg2im", "onnx"]
    checkpoint: Path
    out: Path = field(kw_only=True)
    photos: tuple[Path, ...] = ()


@dataclass(frozen=True)
class WeightsCommand:
    """Options of `weights`.

    Attributes:
        json: print all that their descriptions say, as JSON.
    """

    json: bool = False


def _weights(options: WeightsCommand) -> int:
    import json

    from autoenc_sg.weights.pretrained import SHIPPED, read_about, shipped_models

    abouts = {name: read_about(SHIPPED / name) for name in shipped_models()}
    if options.json:
        print(json.dumps(abouts, indent=1))
        return 0
    if not abouts:
        print("no weights come with this version")
    for name, about in abouts.items():
        print(f"{name}: {about.get('summary', '')}")
        for key in ("data", "licences"):
            if key in about:
                print(f"  {key}: {_plain(about[key])}")
        for measure, value in dict(about.get("measured", {})).items():
            print(f"  {measure}: {value}")
    return 0


def _plain(value: object) -> str:
    """A value of a description as text; a table as `key: value, key: value`, tables in brackets."""
    if not isinstance(value, dict):
        return str(value)
    parts = ((k, _plain(v), isinstance(v, dict)) for k, v in value.items())
    return ", ".join(f"{k} ({text})" if nested else f"{k}: {text}" for k, text, nested in parts)


def _import(options: ImportCommand) -> int:
    from autoenc_sg.training.run_log import HISTORY
    from autoenc_sg.weights.checkpoint import CHECKPOINT
    from autoenc_sg.weights.import_detector import import_detector
    from autoenc_sg.weights.sg2im import import_file

    if (options.out / HISTORY).is_file():
        raise bad_input(f"--out {options.out}", "a folder without a run", f"one with {HISTORY}")
    if options.kind != "sg2im":
        for path in import_detector(options.kind, options.file, options.out):
            print(path)
        return 0
    path = options.out / CHECKPOINT
    for note in import_file(options.file, path):
        print(f"note: {note}")
    print(path)
    return 0


def _export(options: ExportCommand) -> int:
    if options.kind == "onnx":
        return _export_onnx(options)
    if options.photos:
        raise bad_input("--photos", "none with sg2im", len(options.photos))
    from autoenc_sg.weights.sg2im import export_file

    for note in export_file(options.checkpoint, options.out):
        print(f"note: {note}")
    print(options.out)
    return 0


def _export_onnx(options: ExportCommand) -> int:
    from autoenc_sg.model.autoencoder import AutoEncoder
    from autoenc_sg.pipelines.onnx_export.export import export_onnx

    model = AutoEncoder.from_pretrained(options.checkpoint)
    report = export_onnx(model, options.out, options.photos)
    for name, difference in report.differences.items():
        print(f"{name}: largest difference from PyTorch {difference:.1e}")
    print(options.out)
    return 0


WEIGHTS = Command("weights", "the weights that come with the package", WeightsCommand, _weights)
IMPORT = Command("import", "weights of another program as files of ours", ImportCommand, _import)
EXPORT = Command("export", "a checkpoint as another program reads it", ExportCommand, _export)
