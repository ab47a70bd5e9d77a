"""Graph files to pictures: given or predicted boxes and masks, several samples, growth, a grid."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from autoenc_sg.core.boxes import to_pixel_boxes
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.graph_json import graph_to_json, read_graphs
from autoenc_sg.core.images import save_image, to_pil
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.generator import Generated
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.pipelines.options import GenerateOptions
from autoenc_sg.visualization.composition import enlarged, side_by_side
from autoenc_sg.visualization.figures import GrowthStep, figure_3
from autoenc_sg.visualization.progress import Reporter

BATCH_OBJECTS = 256  # drawn at a time, so that memory stays bounded
MASK_SIDE = 128  # pixels of a mask's picture
MASK_COLUMNS = 8
MASK_OBJECTS = 400  # pictures of masks a graph
GROWTH_OBJECTS = 64  # steps of a growing graph
METADATA = "scene graph"  # the key of a PNG's text


@dataclass(frozen=True, eq=False)
class Picture:
    """One drawn graph.

    Attributes:
        graph: what was drawn, as it was given.
        seed: of the noise.
        image: `[3, H, W]` in [0, 1].
        boxes: `[N, 4]` predicted by the generator, xyxy in pixels of the graph's image.
        masks: `[N, S, S]` that were drawn, or None without masks.
        predicted: the predicted boxes were drawn.
    """

    graph: SceneGraph
    seed: int
    image: Tensor
    boxes: Tensor
    masks: Tensor | None
    predicted: bool


def generate_pictures(
    model: AutoEncoder, graph_file: Path, out: Path, options: GenerateOptions, reporter: Reporter
) -> list[Path]:
    """Draw every graph of a file into `out`; a PNG's metadata holds the graph it was drawn from.

    A file `a.json` with one graph gives `a.png`, with several `a-0000.png`, `a-0001.png`, …; with
    several samples a second number follows. More than one picture: `a-grid.png`, a row a graph.
    `a-masks.png` and `a-growth.png` stand beside the first sample, if asked for.

    Raises:
        InputError: the file is not one of graphs of the model's vocabulary, or has not the boxes or
            masks asked for, or has too many objects for pictures of each; nothing is written then.
    """
    parsed = read_graphs(graph_file, model.vocabulary)
    if not parsed:
        raise bad_input(graph_file, "one graph or more", "an empty list")
    count = len(parsed)
    graphs = [
        _prepared(item, options, model, f"{graph_file}, graph {i} of {count}")
        for i, item in enumerate(parsed, start=1)
    ]
    jobs = [
        (graph, predicted, options.seed + i + j * count)
        for i, (graph, predicted) in enumerate(graphs)
        for j in range(options.samples)
    ]
    paths, pictures = [], []
    with reporter.stage("generate", len(jobs)):
        for number, picture in enumerate(draw_all(model, jobs, options.temperature)):
            name = graph_file.stem + _suffix(number, count, options.samples)
            paths.append(out / f"{name}.png")
            _save(paths[-1], picture, model, options)
            if number % options.samples == 0:
                paths += _extras(out / name, picture, model, options)
            pictures.append((picture.image * 255).round().byte())
            reporter.advance()
    if len(pictures) > 1:
        paths.append(out / f"{graph_file.stem}-grid.png")
        columns = options.samples if options.samples > 1 else math.ceil(math.sqrt(count))
        save_image(paths[-1], make_grid(pictures, columns, pad_value=255))
    return paths


def draw_all(
    model: AutoEncoder, jobs: Sequence[tuple[SceneGraph, bool, int]], temperature: float = 1.0
) -> Iterator[Picture]:
    """Pictures of (graph, draw the predicted boxes, seed), in order, drawn in batches."""
    for batch in _batches(jobs):
        graphs, predicted, seeds = [job[0] for job in batch], batch[0][1], [job[2] for job in batch]
        made = model.generate_batch(graphs, seeds, predicted, temperature)
        yield from _pictures(made, graphs, seeds, predicted)


def growth_steps(model: AutoEncoder, picture: Picture, temperature: float) -> list[GrowthStep]:
    """The graph object by object, in its order, each step with the same noise."""
    graph = picture.graph
    steps = [graph.select(torch.arange(count)) for count in range(1, len(graph) + 1)]
    jobs = [(step, picture.predicted, picture.seed) for step in steps]
    drawn = draw_all(model, jobs, temperature)
    return [GrowthStep(step, made.image) for step, made in zip(steps, drawn)]


def picture_metadata(
    picture: Picture, model: AutoEncoder, temperature: float = 1.0
) -> dict[str, Any]:
    """The graph's JSON with the noise; predicted boxes, if drawn, as `predicted_boxes`."""
    noise = {"seed": picture.seed, "temperature": temperature}
    data = graph_to_json(picture.graph, model.vocabulary) | noise
    if picture.predicted:
        data |= {"predicted_boxes": picture.boxes.tolist()}
        data.pop("boxes", None)
    return data


def _prepared(
    graph: SceneGraph, options: GenerateOptions, model: AutoEncoder, where: str
) -> tuple[SceneGraph, bool]:
    """The graph with the masks to be drawn, and whether boxes are to be predicted."""
    if options.boxes == "given" and not graph.has_boxes:
        raise bad_input(f"{where}, boxes", "boxes in the file (--boxes given)", "none")
    if options.masks == "given" and graph.masks is None:
        raise bad_input(f"{where}, masks", "masks in the file (--masks given)", "none")
    for asked, limit, flag in (
        (options.mask_pictures, MASK_OBJECTS, "--masks"),
        (options.grow, GROWTH_OBJECTS, "--grow"),
    ):
        if asked and len(graph) > limit:
            raise bad_input(f"{where}, objects", f"at most {limit} with {flag}", len(graph))
    check_appearance(graph, model, where)
    if options.masks == "predicted":
        graph = replace(graph, masks=None)
    if options.mask_pictures and graph.masks is None and not model.config.generator.mask_size:
        raise bad_input(f"{where}, --masks", "a generator with masks", "one that fills boxes")
    return graph, options.boxes == "predicted" or not graph.has_boxes


def check_appearance(graph: SceneGraph, model: AutoEncoder, where: str) -> None:
    """Refuse appearance codes that are not of this model.

    Raises:
        InputError: they have another width, or the model reads none.
    """
    width = model.config.generator.appearance_dim
    if graph.appearance is not None and graph.appearance.shape[1] != width:
        wanted = f"{width} numbers an object" if width else "none (this model reads none)"
        raise bad_input(f"{where}, appearance", wanted, f"{graph.appearance.shape[1]} an object")


def _batches(
    jobs: Sequence[tuple[SceneGraph, bool, int]],
) -> Iterator[list[tuple[SceneGraph, bool, int]]]:
    """Runs of jobs that can be drawn at once: of one kind, and not too many objects."""
    batch: list[tuple[SceneGraph, bool, int]] = []
    for job in jobs:
        objects = sum(len(graph) + 1 for graph, _, _ in (*batch, job))
        if batch and (objects > BATCH_OBJECTS or _kind(job) != _kind(batch[0])):
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch


def _kind(job: tuple[SceneGraph, bool, int]) -> tuple[object, ...]:
    graph = job[0]
    return job[1], None if graph.masks is None else graph.masks.shape[1:]


def _pictures(
    made: Generated, graphs: Sequence[SceneGraph], seeds: Sequence[int], predicted: bool
) -> Iterator[Picture]:
    counts = [len(graph) for graph in graphs]
    boxes = made.boxes.cpu().split(counts)
    masks = [None] * len(graphs) if made.masks is None else made.masks.cpu().split(counts)
    images = made.image.clamp(0, 1).cpu()
    for graph, seed, image, box, mask in zip(graphs, seeds, images, boxes, masks):
        index = torch.zeros(len(graph), dtype=torch.int64)
        pixels = to_pixel_boxes(box, [graph.image_size], index)
        drawn = mask if graph.masks is None else graph.masks
        yield Picture(graph, seed, image, pixels, drawn, predicted)


def _suffix(number: int, graphs: int, samples: int) -> str:
    graph = f"-{number // samples:04d}" if graphs > 1 else ""
    return graph + (f"-{number % samples:04d}" if samples > 1 else "")


def _save(path: Path, picture: Picture, model: AutoEncoder, options: GenerateOptions) -> None:
    image = to_pil(picture.image)
    if options.size is not None:
        image = image.resize((options.size, options.size), Image.Resampling.BICUBIC)
    data = picture_metadata(picture, model, options.temperature)
    save_image(path, image, {METADATA: json.dumps(data)})


def _extras(
    stem: Path, picture: Picture, model: AutoEncoder, options: GenerateOptions
) -> list[Path]:
    """The masks and the growth of a graph, where they are asked for and there are objects."""
    paths: list[Path] = []
    if len(picture.graph) == 0:
        return paths
    if options.mask_pictures:
        paths.append(stem.with_name(f"{stem.name}-masks.png"))
        save_image(paths[-1], mask_pictures(picture, model))
    if options.grow:
        paths.append(stem.with_name(f"{stem.name}-growth.png"))
        steps = growth_steps(model, picture, options.temperature)
        save_image(paths[-1], figure_3(steps, model.vocabulary))
    return paths


def mask_pictures(picture: Picture, model: AutoEncoder) -> Image.Image:
    """The masks of a picture's objects over their boxes, in rows, with their names."""
    assert picture.masks is not None
    names = [model.vocabulary.objects[i] for i in picture.graph.labels.tolist()]
    greys = [to_pil(mask.expand(3, -1, -1)) for mask in picture.masks]
    greys = [enlarged(grey, max(1, MASK_SIDE // grey.width)) for grey in greys]
    starts = range(0, len(greys), MASK_COLUMNS)
    rows = [side_by_side(greys[i : i + MASK_COLUMNS], names[i : i + MASK_COLUMNS]) for i in starts]
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet
