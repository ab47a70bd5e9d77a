"""Pictures of a data set's true graphs, with all that metrics need to read them again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.graph_json import write_graphs
from autoenc_sg.core.images import as_float, resize_square, save_image
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.data.loading import batches
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.pipelines.generate import GeneratedImage, draw_all
from autoenc_sg.pipelines.options import SampleOptions
from autoenc_sg.visualization.progress import Reporter

INDEX = "index.jsonl"
BATCH = 8  # photos at a time


def write_samples(
    model: AutoEncoder, dataset: GraphDataset, out: Path, options: SampleOptions, reporter: Reporter
) -> Path:
    """Draw the data set's graphs into `images/`, with `graphs.json` and `index.jsonl` beside it.

    A line of the index: `image`, `graph` (its index in `graphs.json`), `image_id`, `seed` and
    `temperature` of the noise, `image_size`, `true_boxes` and `predicted_boxes` (pixels of
    `image_size`), and `photo` if true images are written. The index is written last: if it
    exists, so do all files that it names.

    Returns:
        The path of the index.

    Raises:
        InputError: the split is empty, or a graph cannot be written, or the model has no
            appearance codes where they are asked for; nothing is drawn then.
    """
    count = min(len(dataset), options.limit or len(dataset))
    if count == 0:
        raise bad_input("graphs to draw", "one or more in the split", 0)
    graphs = _graphs(model, dataset, count, options.appearance)
    write_graphs(out / "graphs.json", graphs, model.vocabulary)  # first: raises for invalid graphs
    (out / INDEX).unlink(missing_ok=True)  # of an earlier call
    lines = []
    with reporter.stage("sample", count):
        for number, drawn in enumerate(_draw(model, graphs, options)):
            line = _line(number, drawn, options) | {"image_id": dataset.image_ids[number]}
            save_image(out / line["image"], drawn.image)
            if options.photos:
                line["photo"] = f"photos/{number:06d}.png"
                photo = as_float(dataset[number].image)
                side = model.config.generator.image_size
                save_image(out / line["photo"], resize_square(photo, side))
            lines.append(json.dumps(line))
            reporter.advance()
    with replacing(out / INDEX) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return out / INDEX


def _graphs(
    model: AutoEncoder, dataset: GraphDataset, count: int, appearance: bool
) -> list[SceneGraph]:
    if not appearance:
        return [dataset.graph(i) for i in range(count)]
    if model.appearance is None:
        raise bad_input("--appearance", "a model with appearance codes", "one without")
    graphs: list[SceneGraph] = []
    for batch in batches(dataset, BATCH, count):
        graphs += model.with_appearance(batch.images, batch.graphs).split()
    return graphs


def _draw(
    model: AutoEncoder, graphs: Sequence[SceneGraph], options: SampleOptions
) -> Iterator[GeneratedImage]:
    predicted = options.boxes == "predicted"
    if options.masks == "predicted":
        graphs = [replace(graph, masks=None) for graph in graphs]
    jobs = [(graph, predicted, options.seed + i) for i, graph in enumerate(graphs)]
    return draw_all(model, jobs, options.temperature)


def _line(number: int, drawn: GeneratedImage, options: SampleOptions) -> dict[str, Any]:
    return {
        "image": f"images/{number:06d}.png",
        "graph": number,
        "seed": drawn.seed,
        "temperature": options.temperature,
        "image_size": list(drawn.graph.image_size),
        "true_boxes": _rounded(drawn.graph.boxes),
        "predicted_boxes": _rounded(drawn.boxes),
    }


def _rounded(boxes: torch.Tensor) -> list[list[float]]:
    return [[round(value, 3) for value in box] for box in boxes.tolist()]
