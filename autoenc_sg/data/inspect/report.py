"""`autoenc-sg data stats`: a page about a data set, with graphs drawn on its photos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.images import save_image
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.base.dataset import AnnotatedDataset
from autoenc_sg.data.base.graphs import check_aspect, resize_graph
from autoenc_sg.data.base.json_files import write_json
from autoenc_sg.data.base.samples import Split, random_stream
from autoenc_sg.data.inspect.plots import long_tail, sizes
from autoenc_sg.data.inspect.statistics import (
    SplitStatistics,
    as_json,
    class_table,
    count_split,
    overview,
    predicate_table,
    pseudo_tables,
    triple_table,
)
from autoenc_sg.data.open import open_dataset
from autoenc_sg.visualization.boxes import draw_boxes
from autoenc_sg.visualization.composition import side_by_side
from autoenc_sg.visualization.graph import draw_graph
from autoenc_sg.visualization.html_report import Figure, Report, write_report
from autoenc_sg.visualization.progress import Reporter

PAGE, NUMBERS, PLOT = "index.html", "statistics.json", "long_tail.png"
STAGES = (("count graphs", 3.0), ("draw samples", 1.0))
SPLITS: tuple[Split, ...] = ("train", "val", "test")
_SIDE = 640  # pixels of a drawn photo


def write_data_report(
    config: DataConfig,
    out: Path,
    samples: int = 8,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> Report:
    """Write `index.html`, `statistics.json` and `long_tail.png`; the page needs no other file.

    Args:
        config: which data set; its filters count, flips and the choice of predicates do not.
        out: the folder to write to.
        samples: graphs to draw, of images with relations.
        seed: of which ones.
        reporter: gets the progress of the stages `STAGES`.

    Returns:
        What the page shows.

    Raises:
        InputError: the data set cannot be read, or has no image.
    """
    datasets = {split: open_dataset(config, split) for split in SPLITS}
    vocabulary = datasets["train"].vocabulary
    if not any(map(len, datasets.values())):
        raise bad_input(config.root, "a data set of one or more images", "none")
    reporter = reporter or Reporter(STAGES)
    with reporter.stage(STAGES[0][0], sum(map(len, datasets.values()))):
        splits = [count_split(d, s, reporter.advance) for s, d in datasets.items()]
    with reporter.stage(STAGES[1][0], samples):
        figures = []
        for figure in _samples(datasets, samples, seed):
            figures.append(figure)
            reporter.advance()
    tail = long_tail(splits, vocabulary)
    write_json(out / NUMBERS, as_json(splits, vocabulary), indent=1)
    save_image(out / PLOT, tail)
    report = Report(
        f"Data set: {Path(config.root).name or config.root}",
        [_summary(config, splits)],
        [
            overview(splits),
            *pseudo_tables(map(datasets["train"].graph, range(len(datasets["train"]))), vocabulary),
            triple_table(splits, vocabulary),
            predicate_table(splits, vocabulary),
            class_table(splits, vocabulary),
        ],
        [
            Figure("Long tail", tail, "All splits together, logarithmic."),
            Figure("Sizes of graphs", sizes(splits), "All splits together; dashed: the median."),
            *figures,
        ],
    )
    write_report(out / PAGE, report)
    return report


def _summary(config: DataConfig, splits: list[SplitStatistics]) -> str:
    images = sum(s.images for s in splits)
    objects = sum(int(s.objects.sum()) for s in splits)
    relations = sum(int(s.predicates.sum()) for s in splits)
    return (
        f"{images:,} images with {objects:,} objects and {relations:,} relations, as "
        f"data.format {config.format} reads {config.root}."
    )


def _samples(datasets: dict[Split, AnnotatedDataset], count: int, seed: int) -> Iterator[Figure]:
    """Drawn from all splits; images that cannot be read are passed over."""
    every = [(split, index) for split, dataset in datasets.items() for index in range(len(dataset))]
    random_stream("statistics", seed).shuffle(every)
    for split, index in every:
        if count <= 0:
            return
        dataset = datasets[split]
        graph = dataset.annotated(index)
        if len(graph.triples):
            count -= 1
            image_id = dataset.image_ids[index]
            yield _figure(dataset, graph, image_id, f"{split}, image {image_id}")


def _figure(dataset: AnnotatedDataset, graph: SceneGraph, image_id: int, title: str) -> Figure:
    caption = f"{len(graph)} objects, {len(graph.triples)} relations"
    try:
        photo, full_size = dataset.store.read(image_id)
        check_aspect(dataset.store.name(image_id), full_size, graph.image_size)
    except InputError as error:
        caption += f"; no photo ({error})"
        photo = torch.full((3, *_blank_size(graph.image_size)), 255, dtype=torch.uint8)
    graph = resize_graph(graph, (photo.shape[1], photo.shape[2]))
    boxes = draw_boxes(photo, graph, dataset.vocabulary, side=_SIDE)
    drawing = draw_graph(graph, dataset.vocabulary)
    return Figure(title, side_by_side([boxes, drawing]), caption)


def _blank_size(size: ImageSize) -> ImageSize:
    """Of a white sheet in the place of a photo: its shape, with a long side of `_SIDE`."""
    height, width = (max(1, round(side * _SIDE / max(size))) for side in size)
    return height, width
