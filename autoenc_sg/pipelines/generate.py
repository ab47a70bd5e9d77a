"""Images of the graphs in a file: given or predicted boxes and masks, samples, growth, a grid."""

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

BATCH_OBJECTS = 256  # objects in a batch, so that memory is bounded
MASK_SIDE = 128  # pixels of a mask in the image of masks
MASK_COLUMNS = 8
MASK_OBJECTS = 400  # masks of a graph that are written
GROWTH_OBJECTS = 64  # steps of a growing graph
METADATA = "scene graph"  # the key of a PNG's text


@dataclass(frozen=True, eq=False)
class GeneratedImage:
    """The image of a graph.

    Attributes:
        graph: the graph that was drawn.
        seed: of the noise.
        image: `[3, H, W]` in [0, 1].
        boxes: `[N, 4]` predicted by the generator, xyxy in pixels of the graph's image.
        masks: `[N, S, S]` that were drawn, or None without masks.
        predicted: whether the predicted boxes were drawn, not those of the graph.
    """

    graph: SceneGraph
    seed: int
    image: Tensor
    boxes: Tensor
    masks: Tensor | None
    predicted: bool


def generate_images(
    model: AutoEncoder, graph_file: Path, out: Path, options: GenerateOptions, reporter: Reporter
) -> list[Path]:
    """Draw every graph of a file into `out`; the metadata of each PNG holds its graph.

    A file `a.json` with one graph gives `a.png`, with several `a-0000.png`, `a-0001.png`, …; with
    several samples a second number follows. With more than one image: `a-grid.png`, a row for each
    graph. `a-masks.png` and `a-growth.png` are written beside the first sample, if asked for.

    Raises:
        InputError: the file does not hold graphs of the model's vocabulary, or lacks boxes or
            masks that are asked for, or a graph has too many objects; nothing is written then.
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
    paths, grid_images = [], []
    with reporter.stage("generate", len(jobs)):
        for number, drawn in enumerate(draw_all(model, jobs, options.temperature)):
            name = graph_file.stem + _suffix(number, count, options.samples)
            paths.append(out / f"{name}.png")
            _save(paths[-1], drawn, model, options)
            if number % options.samples == 0:
                paths += _extras(out / name, drawn, model, options)
            grid_images.append((drawn.image * 255).round().byte())
            reporter.advance()
    if len(grid_images) > 1:
        paths.append(out / f"{graph_file.stem}-grid.png")
        columns = options.samples if options.samples > 1 else math.ceil(math.sqrt(count))
        save_image(paths[-1], make_grid(grid_images, columns, pad_value=255))
    return paths


def draw_all(
    model: AutoEncoder, jobs: Sequence[tuple[SceneGraph, bool, int]], temperature: float = 1.0
) -> Iterator[GeneratedImage]:
    """Images of (graph, whether to draw the predicted boxes, seed), in order, in batches."""
    for batch in _batches(jobs):
        graphs, predicted, seeds = [job[0] for job in batch], batch[0][1], [job[2] for job in batch]
        generated = model.generate_batch(graphs, seeds, predicted, temperature)
        yield from _split_images(generated, graphs, seeds, predicted)


def growth_steps(model: AutoEncoder, drawn: GeneratedImage, temperature: float) -> list[GrowthStep]:
    """The graph object by object, in its order, each step with the same noise."""
    graph = drawn.graph
    steps = [graph.select(torch.arange(count)) for count in range(1, len(graph) + 1)]
    jobs = [(step, drawn.predicted, drawn.seed) for step in steps]
    images = draw_all(model, jobs, temperature)
    return [GrowthStep(step, image.image) for step, image in zip(steps, images)]


def image_metadata(
    drawn: GeneratedImage, model: AutoEncoder, temperature: float = 1.0
) -> dict[str, Any]:
    """The graph's JSON with the noise; predicted boxes, if drawn, as `predicted_boxes`."""
    noise = {"seed": drawn.seed, "temperature": temperature}
    data = graph_to_json(drawn.graph, model.vocabulary) | noise
    if drawn.predicted:
        data |= {"predicted_boxes": drawn.boxes.tolist()}
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
    for requested, limit, flag in (
        (options.mask_images, MASK_OBJECTS, "--masks"),
        (options.grow, GROWTH_OBJECTS, "--grow"),
    ):
        if requested and len(graph) > limit:
            raise bad_input(f"{where}, objects", f"at most {limit} with {flag}", len(graph))
    check_appearance(graph, model, where)
    if options.masks == "predicted":
        graph = replace(graph, masks=None)
    if options.mask_images and graph.masks is None and not model.config.generator.mask_size:
        raise bad_input(f"{where}, --masks", "a generator with masks", "one that fills boxes")
    return graph, options.boxes == "predicted" or not graph.has_boxes


def check_appearance(graph: SceneGraph, model: AutoEncoder, where: str) -> None:
    """Check that a graph's codes of objects and background fit the model.

    Raises:
        InputError: they have another width or number, or the model takes none.
    """
    width = model.config.generator.appearance_dim
    if graph.appearance is not None and graph.appearance.shape[1] != width:
        expected = f"{width} numbers an object" if width else "none (this model reads none)"
        raise bad_input(f"{where}, appearance", expected, f"{graph.appearance.shape[1]} an object")
    cells = model.config.generator.background_cells
    if graph.background is not None and graph.background.shape != (cells**2, width):
        count, numbers = graph.background.shape
        expected = f"{cells**2} of {width} numbers" if cells else "none (this model reads none)"
        raise bad_input(f"{where}, background", expected, f"{count} of {numbers}")


def _batches(
    jobs: Sequence[tuple[SceneGraph, bool, int]],
) -> Iterator[list[tuple[SceneGraph, bool, int]]]:
    """Consecutive jobs that fit in a batch: of one kind, and at most BATCH_OBJECTS objects."""
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


def _split_images(
    generated: Generated, graphs: Sequence[SceneGraph], seeds: Sequence[int], predicted: bool
) -> Iterator[GeneratedImage]:
    counts = [len(graph) for graph in graphs]
    boxes = generated.boxes.cpu().split(counts)
    masks = [None] * len(graphs) if generated.masks is None else generated.masks.cpu().split(counts)
    images = generated.image.clamp(0, 1).cpu()
    for graph, seed, image, box, mask in zip(graphs, seeds, images, boxes, masks):
        index = torch.zeros(len(graph), dtype=torch.int64)
        pixels = to_pixel_boxes(box, [graph.image_size], index)
        drawn_masks = mask if graph.masks is None else graph.masks
        yield GeneratedImage(graph, seed, image, pixels, drawn_masks, predicted)


def _suffix(number: int, graphs: int, samples: int) -> str:
    graph = f"-{number // samples:04d}" if graphs > 1 else ""
    return graph + (f"-{number % samples:04d}" if samples > 1 else "")


def _save(path: Path, drawn: GeneratedImage, model: AutoEncoder, options: GenerateOptions) -> None:
    image = to_pil(drawn.image)
    if options.size is not None:
        image = image.resize((options.size, options.size), Image.Resampling.BICUBIC)
    data = image_metadata(drawn, model, options.temperature)
    save_image(path, image, {METADATA: json.dumps(data)})


def _extras(
    stem: Path, drawn: GeneratedImage, model: AutoEncoder, options: GenerateOptions
) -> list[Path]:
    """Write the masks and the growth of a graph, if asked for and if it has objects."""
    paths: list[Path] = []
    if len(drawn.graph) == 0:
        return paths
    if options.mask_images:
        paths.append(stem.with_name(f"{stem.name}-masks.png"))
        save_image(paths[-1], mask_images(drawn, model))
    if options.grow:
        paths.append(stem.with_name(f"{stem.name}-growth.png"))
        steps = growth_steps(model, drawn, options.temperature)
        save_image(paths[-1], figure_3(steps, model.vocabulary))
    return paths


def mask_images(drawn: GeneratedImage, model: AutoEncoder) -> Image.Image:
    """The masks of an image's objects in rows, with their names."""
    assert drawn.masks is not None
    names = [model.vocabulary.objects[i] for i in drawn.graph.labels.tolist()]
    greys = [to_pil(mask.expand(3, -1, -1)) for mask in drawn.masks]
    greys = [enlarged(grey, max(1, MASK_SIDE // grey.width)) for grey in greys]
    starts = range(0, len(greys), MASK_COLUMNS)
    rows = [side_by_side(greys[i : i + MASK_COLUMNS], names[i : i + MASK_COLUMNS]) for i in starts]
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet
