"""Pictures of a data set's true graphs, with all that metrics need to read them again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from autoenc_sg.atomic import replacing
from autoenc_sg.errors import bad_input
from autoenc_sg.generation import Picture, draw_all
from autoenc_sg.graph_json import write_graphs
from autoenc_sg.images import resize_square, save_image
from autoenc_sg.model import AutoEncoder
from autoenc_sg.progress import Reporter
from autoenc_sg.samples import GraphDataset
from autoenc_sg.structures import SceneGraph

INDEX = "index.jsonl"


@dataclass(frozen=True)
class SampleOptions:
    """What to draw.

    Attributes:
        limit: graphs at most; None: all.
        seed: picture i has the noise of `seed + i`.
        boxes: the `given` true boxes, or those the generator `predicted`.
        temperature: factor of the noise.
        photos: also write the true pictures, at the generator's size.
    """

    limit: int | None = None
    seed: int = 0
    boxes: Literal["given", "predicted"] = "given"
    temperature: float = 1.0
    photos: bool = False

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise bad_input("limit", ">= 1", self.limit)


def write_samples(
    model: AutoEncoder, dataset: GraphDataset, out: Path, options: SampleOptions, reporter: Reporter
) -> Path:
    """Draw the data set's graphs into `images/`, with `graphs.json` and `index.jsonl` beside it.

    A line of the index: `image`, `graph` (its place in `graphs.json`), `image_id`, `seed`,
    `image_size`, `true_boxes` and `predicted_boxes` (pixels of `image_size`), and `photo` where
    true pictures are written.

    Returns:
        The index.
    """
    count = min(len(dataset), options.limit or len(dataset))
    graphs = [dataset.graph(i) for i in range(count)]
    write_graphs(out / "graphs.json", graphs, model.vocabulary)  # first: it refuses bad graphs
    lines = []
    with reporter.stage("sample", count):
        for number, picture in enumerate(_draw(model, graphs, options)):
            name = f"images/{number:06d}.png"
            save_image(out / name, picture.image)
            line = _line(number, name, picture) | {"image_id": dataset.image_ids[number]}
            if options.photos:
                line["photo"] = f"photos/{number:06d}.png"
                photo = dataset[number].image.float() / 255
                side = model.config.generator.image_size
                save_image(out / line["photo"], resize_square(photo, side))
            lines.append(json.dumps(line))
            reporter.advance()
    with replacing(out / INDEX) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return out / INDEX


def _draw(
    model: AutoEncoder, graphs: Sequence[SceneGraph], options: SampleOptions
) -> Iterator[Picture]:
    predicted = options.boxes == "predicted"
    jobs = [(graph, predicted, options.seed + i) for i, graph in enumerate(graphs)]
    return draw_all(model, jobs, options.temperature)


def _line(number: int, name: str, picture: Picture) -> dict[str, Any]:
    return {
        "image": name,
        "graph": number,
        "seed": picture.seed,
        "image_size": list(picture.graph.image_size),
        "true_boxes": _rounded(picture.graph.boxes),
        "predicted_boxes": _rounded(picture.boxes),
    }


def _rounded(boxes: torch.Tensor) -> list[list[float]]:
    return [[round(value, 3) for value in box] for box in boxes.tolist()]
