"""Reconstruction of photos: their graphs, drawings of them and the images generated from them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from autoenc_sg.config.model import DecodeConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.graph_json import write_graph
from autoenc_sg.core.images import read_image, save_image, to_pil
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.pipelines.given_boxes import GivenEntry, read_given
from autoenc_sg.pipelines.options import ParseOptions
from autoenc_sg.pipelines.output_names import output_names
from autoenc_sg.pipelines.unfamiliar import better_weights, looks_unfamiliar
from autoenc_sg.visualization.boxes import draw_boxes
from autoenc_sg.visualization.composition import side_by_side
from autoenc_sg.visualization.graph import draw_graph
from autoenc_sg.visualization.progress import Reporter

FEWEST_OBJECTS = 2  # detected in a photo that is drawn by a model without appearance codes
logger = logging.getLogger(__name__)


def reconstruct_photos(
    model: AutoEncoder,
    photos: Sequence[Path],
    out: Path,
    seed: int,
    reporter: Reporter,
    options: ParseOptions = ParseOptions(),  # noqa: B008 (frozen)
) -> list[InputError]:
    """Parse and reconstruct each photo into its folder under `out`.

    A photo `cat.jpg` gives `cat/graph.json`, `cat/boxes.png`, `cat/graph.png`,
    `cat/reconstruction.png` and `cat/side_by_side.png`. A photo that cannot be read does not stop
    the others.

    Returns:
        The errors of the photos that could not be read or parsed.
    """
    failures = []
    entries: Sequence[GivenEntry | InputError | None] = [None] * len(photos)
    if options.boxes is not None:
        entries = read_given(options.boxes, photos)
    with reporter.stage("reconstruct", len(photos)):
        for photo, name, entry in zip(photos, output_names(photos), entries):
            try:
                if isinstance(entry, InputError):
                    raise entry
                reconstruct_photo(model, photo, out / name, seed, entry, options)
            except InputError as error:
                failures.append(error)
            reporter.advance(note=photo.name)
    return failures


def reconstruct_photo(
    model: AutoEncoder,
    photo: Path,
    folder: Path,
    seed: int,
    entry: GivenEntry | None = None,
    options: ParseOptions = ParseOptions(),  # noqa: B008 (frozen)
) -> None:
    """Parse and reconstruct one photo, with detected objects or given ones.

    If that fails, nothing is written. Of a photo in which fewer objects than `fewest_objects` were
    detected a picture would mislead: the graph alone is written. Of fewer than two a warning says
    what to try. Neither if `options.object_threshold` was chosen. Another warning names weights
    that know photographs, if the scores are below the limit of the model's `about`.

    Raises:
        InputError: the photo cannot be read, or the folder cannot be written.
    """
    image = read_image(photo)
    try:
        graph = model.parse(
            image,
            None if entry is None else entry.boxes,
            None if entry is None else entry.objects,
            object_threshold=options.object_threshold,
            edge_threshold=options.edge_threshold,
        )
    except InputError as error:
        raise InputError(f"{photo}: {error}") from error
    chosen = entry is not None or options.object_threshold is not None
    drawn = chosen or len(graph) >= fewest_objects(model)
    pictures = _pictures(model, image, graph, model.render(graph, seed) if drawn else None)
    write_graph(folder / "graph.json", graph, model.vocabulary)
    for name, picture in pictures.items():
        save_image(folder / f"{name}.png", picture)
    if len(graph) < FEWEST_OBJECTS and not chosen:
        logger.warning("%s: %s", photo, few_objects(len(graph), model.config.decode, drawn))
    elif looks_unfamiliar(model, graph, options) and (weights := better_weights(model)):
        logger.warning("%s: its objects have low scores; %s", photo, weights)


def _pictures(
    model: AutoEncoder, image: Tensor, graph: SceneGraph, reconstruction: Image.Image | None
) -> dict[str, Image.Image]:
    boxes = draw_boxes(image, graph, model.vocabulary)
    drawn = draw_graph(graph, model.vocabulary)
    pictures = {"boxes": boxes, "graph": drawn}
    if reconstruction is None:
        return pictures
    together = side_by_side(
        [to_pil(image), boxes, drawn, reconstruction],
        ["photo", "objects", "graph", "reconstruction"],
    )
    return {**pictures, "reconstruction": reconstruction, "side_by_side": together}


def fewest_objects(model: AutoEncoder) -> int:
    """Of how many objects a photo's graph must be to be drawn.

    One is enough where codes say how it looks and what lies around it, as in a portrait.
    """
    return FEWEST_OBJECTS if model.appearance is None or model.background is None else 1


def few_objects(count: int, decode: DecodeConfig, drawn: bool) -> str:
    """What to tell the user of a photo with so few detected objects, and whether it is drawn."""
    threshold = decode.object_threshold
    objects = "object has" if count == 1 else "objects have"
    return (
        f"{count or 'no'} {objects} a class score of {threshold:g} or more"
        f"{'' if drawn else ', and no picture is drawn'}; "
        f"lower it (--object-threshold {threshold / 3:.2g}), or use weights that know such photos"
    )
