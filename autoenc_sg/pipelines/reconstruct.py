"""Photos in, files out: graphs and reconstructions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.graph_json import write_graph
from autoenc_sg.core.images import read_image, save_image, to_pil
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.visualization.boxes import draw_boxes
from autoenc_sg.visualization.composition import side_by_side
from autoenc_sg.visualization.graph import draw_graph
from autoenc_sg.visualization.progress import Reporter


def reconstruct_photos(
    model: AutoEncoder, photos: Sequence[Path], out: Path, seed: int, reporter: Reporter
) -> list[InputError]:
    """Parse and reconstruct each photo into a folder of its own under `out`.

    A photo `cat.jpg` gives `cat/graph.json`, `cat/boxes.png`, `cat/graph.png`,
    `cat/reconstruction.png` and `cat/side_by_side.png`. A photo that cannot be read does not stop
    the others.

    Returns:
        The errors of the photos that could not be done.
    """
    failures = []
    with reporter.stage("reconstruct", len(photos)):
        for photo, folder in zip(photos, _folders(photos, out)):
            try:
                reconstruct_photo(model, photo, folder, seed)
            except InputError as error:
                failures.append(error)
            reporter.advance(note=photo.name)
    return failures


def reconstruct_photo(model: AutoEncoder, photo: Path, folder: Path, seed: int) -> None:
    """One photo; nothing is written unless it could be read and parsed.

    Raises:
        InputError: the photo cannot be read, or the folder cannot be written.
    """
    image = read_image(photo)
    graph = model.parse(image)
    picture = model.render(graph, seed)
    boxes = draw_boxes(image, graph, model.vocabulary)
    drawn = draw_graph(graph, model.vocabulary)
    together = side_by_side(
        [to_pil(image), boxes, drawn, picture], ["photo", "objects", "graph", "reconstruction"]
    )
    write_graph(folder / "graph.json", graph, model.vocabulary)
    for name, result in {
        "boxes": boxes,
        "graph": drawn,
        "reconstruction": picture,
        "side_by_side": together,
    }.items():
        save_image(folder / f"{name}.png", result)


def _folders(photos: Iterable[Path], out: Path) -> list[Path]:
    """A folder a photo; photos of the same name get a number."""
    seen: dict[str, int] = {}
    folders = []
    for photo in photos:
        seen[photo.stem] = seen.get(photo.stem, 0) + 1
        number = seen[photo.stem]
        folders.append(out / (photo.stem if number == 1 else f"{photo.stem}-{number}"))
    return folders
