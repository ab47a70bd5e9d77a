"""`autoenc-sg export onnx`: the graphs, their description, and what they differ by from PyTorch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autoenc_sg.core.atomic_files import new_folder
from autoenc_sg.core.errors import bad_input, one_line
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.detector.colors import COLOR_PARTS
from autoenc_sg.detector.faster_rcnn import FasterRCNN
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.modes import inference
from autoenc_sg.onnx_runtime import OnnxGraph, OnnxModel
from autoenc_sg.onnx_runtime.description import (
    Description,
    Detection,
    Drawing,
    Encoder,
    Pixels,
    Pooling,
    Proposals,
)
from autoenc_sg.pipelines.onnx_export.graphs import noise_shapes, plain_pool
from autoenc_sg.pipelines.onnx_export.parts import Part, all_parts, plain_detector
from autoenc_sg.pipelines.onnx_export.translations import translations

LARGEST_DIFFERENCE = 1e-3


@dataclass
class ExportReport:
    """What an export says.

    Attributes:
        differences: by graph or photo, the largest absolute difference from PyTorch.
    """

    differences: dict[str, float] = field(default_factory=dict)


def export_onnx(model: AutoEncoder, out: Path, photos: Sequence[Path] = ()) -> ExportReport:
    """Write a model's graphs and `model.json` into a new folder, and check them.

    Each graph runs in onnxruntime on inputs of several sizes. Photos are parsed by both, and
    compared in boxes (pixels), scores and triples.

    Raises:
        InputError: `onnx` is not installed, a part of the model cannot be exported, a difference
            is above 1e-3 (then nothing is written), or the folder is not new or empty.
    """
    _check_installed()
    model = model.to("cpu").float().eval()
    report = ExportReport()
    parts = all_parts(model)
    with new_folder(out) as folder, inference(model):
        for part in parts:
            _export(part, model.config.predictor.name, folder)
        describe(model).write(folder)
        exported = OnnxModel(folder)
        for part in parts:
            _record(report, f"{part.name}.onnx", _difference(part, exported))
        for photo in photos if model.has_encoder else ():
            difference = graph_difference(model.parse(photo), exported.parse(photo))
            _record(report, str(photo), difference)
    return report


def _record(report: ExportReport, name: str, difference: float) -> None:
    report.differences[name] = difference
    if not difference <= LARGEST_DIFFERENCE:  # NaN is not
        expected = f"at most {LARGEST_DIFFERENCE:g} from PyTorch"
        raise bad_input(f"export onnx: {name}", expected, f"{difference:g}; nothing was written")


def _check_installed() -> None:
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        got = f"no {', '.join(missing)}"
        raise bad_input("export onnx", "pip install 'autoenc-sg[onnx]'", got)


def _export(part: Part, head: str, folder: Path) -> None:
    """Write a graph; PyTorch runs it first, as it keeps constants that it computes once."""
    part.network.eval()
    part.network(*part.example)
    try:
        with _quiet():
            program = torch.onnx.export(
                part.network,
                part.example,
                dynamo=True,
                input_names=list(part.inputs),
                output_names=list(part.outputs),
                dynamic_shapes=part.dynamic_shapes,
                custom_translation_table=translations(),
                external_data=False,
                verbose=False,
            )
            assert program is not None
            program.save(str(folder / f"{part.name}.onnx"), external_data=False)
    except Exception as error:  # the exporter has no common exception
        reason = one_line(_innermost(error), 200)
        what = f"export onnx: the {part.name} graph"
        if part.name == "relations":
            expected = "a relation head that ONNX can express, such as predictor.name gcn or imp"
            raise bad_input(what, expected, f"{head} ({reason})") from error
        raise bad_input(what, "layers that ONNX can express", reason) from error


def _innermost(error: BaseException) -> str:
    """The first line of the error that caused all others."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings and log."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)


def _difference(part: Part, exported: OnnxModel) -> float:
    """The largest absolute difference of a graph's outputs over all inputs."""
    largest = 0.0
    for inputs in (part.example, *part.checks):
        outputs = part.network(*inputs)
        expected = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        named = {name: value.numpy() for name, value in zip(part.inputs, inputs)}
        try:
            got = exported.run(part.name, named)
        except Exception as error:  # onnxruntime has one for each of its status codes
            sizes = [list(value.shape) for value in inputs]
            reason = one_line(f"{error}", 200)
            what = f"export onnx: {part.name}.onnx"
            raise bad_input(what, f"a result for inputs {sizes}", reason) from error
        for name, values in zip(part.outputs, expected):
            if tuple(values.shape) != got[name].shape:
                return float("inf")
            if values.numel():
                largest = max(largest, float(np.abs(values.numpy() - got[name]).max()))
    return largest


def graph_difference(graph: SceneGraph, other: OnnxGraph) -> float:
    """The largest difference of boxes (pixels) and scores; infinite if labels or triples differ."""
    same = (
        graph.labels.tolist() == other.labels.tolist()
        and graph.triples.tolist() == other.triples.tolist()
    )
    if not same:
        return float("inf")
    return max(_differences(graph, other), default=0.0)


def _differences(graph: SceneGraph, other: OnnxGraph) -> Iterator[float]:
    assert graph.object_scores is not None
    assert graph.triple_scores is not None
    for values, array in (
        (graph.boxes, other.boxes),
        (graph.object_scores, other.object_scores),
        (graph.triple_scores, other.triple_scores),
        (graph.appearance, other.appearance),
        (graph.background, other.background),
    ):
        if (values is None) != (array is None):
            yield float("inf")
        elif values is not None and array is not None and values.numel():
            yield float(np.abs(values.numpy() - array).max())


def describe(model: AutoEncoder) -> Description:
    """What `model.json` holds.

    Raises:
        InputError: a part of the model that cannot be exported.
    """
    config, noise = model.config.generator, noise_shapes(model.generator)
    codes = (config.appearance_dim, config.background_cells)
    drawing = Drawing(config.image_size, noise, *codes)
    vocabulary = model.vocabulary
    encoder = _encoder(model, plain_detector(model)) if model.has_encoder else None
    return Description(list(vocabulary.objects), list(vocabulary.predicates), encoder, drawing)


def _encoder(model: AutoEncoder, detector: FasterRCNN) -> Encoder:
    config, rpn, transform = model.config, detector.rpn, detector.transform
    pool, last_pixel = plain_pool(detector.roi_heads.box_roi_pool)
    assert pool.scales is not None
    levels = pool.map_levels
    pixels = Pixels(
        [float(value) for value in transform.image_mean],
        [float(value) for value in transform.image_std],
        transform.min_size[0],
        transform.max_size,
        transform.size_divisible,
        COLOR_PARTS,
    )
    proposals = Proposals(
        [anchors.tolist() for anchors in rpn.anchor_generator.cell_anchors],
        rpn.pre_nms_top_n(),
        rpn.post_nms_top_n(),
        rpn.nms_thresh,
        rpn.min_size,
    )
    detection = Detection(
        config.detector.score_threshold,
        config.detector.nms_threshold,
        config.detector.detections,
        config.relpn.top_k,
        config.relpn.pair_nms,
        config.decode.object_threshold,
        config.decode.edge_threshold,
        config.decode.nms_threshold,
    )
    pooling = Pooling(len(pool.scales), levels.k_min, levels.k_max, last_pixel)
    return Encoder(pixels, proposals, pooling, detection)
