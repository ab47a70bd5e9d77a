"""Your own annotated photos: JSON Lines to VG150 files. docs/own_data.md describes the format."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from autoenc_sg.core.atomic_files import new_folder
from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.images import read_image, save_image
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.graphs import make_graph
from autoenc_sg.data.images.readable import ReadableFolders, image_path
from autoenc_sg.data.vg150.files import IMAGE_FOLDERS, TEST, TRAIN
from autoenc_sg.data.vg150.writing import write_annotations
from autoenc_sg.visualization.progress import Reporter

logger = logging.getLogger(__name__)

STAGE = "copy photos"
_KEYS = {
    *("image", "labels", "boxes", "triples", "triple_scores", "image_size", "split", "captions"),
}
_ORIENTATION = 0x0112  # EXIF


@dataclass(frozen=True)
class Line:
    """A line of the file, its form checked: names and image not yet.

    Attributes:
        where: file and line number, for messages.
        image: the photo's path.
        labels, boxes, triples: as in the file.
        triple_scores: of each triple, None if a human annotated it.
        image_size: (height, width) if stated.
        split: `train`, `test` or None.
        captions: sentences about the photo; `data relate` may read relations from them.
    """

    where: str
    image: Path
    labels: list[str]
    boxes: list[list[float]]
    triples: list[tuple[int, str, int]]
    image_size: ImageSize | None
    split: str | None
    triple_scores: list[float | None]
    captions: list[str]


def convert_lines(
    path: Path,
    out: Path,
    vocabulary: Vocabulary | None = None,
    train_fraction: float = 0.7,
    link: bool = False,
    reporter: Reporter | None = None,
) -> int:
    """Write the photos of a JSON Lines file and their graphs as VG150 files, atomically.

    Args:
        path: the file; image paths are relative to its folder. Photos outside of it are copied too
            (the user writes this file, and may name photos anywhere); how many is logged.
        out: the folder to make; it may exist if it is empty.
        vocabulary: the only names to allow, in order; None: all names of the file, alphabetically.
        train_fraction: the first part of the lines is the train split, if no line states its split.
        link: link photos instead of copying them, where the file system can.
        reporter: gets the photos done, as the stage `STAGE`.

    Returns:
        Number of photos.

    Raises:
        InputError: one line with the file, the line number, what was expected and what was got.
    """
    lines = read_lines(path)
    log_outside(path.parent, lines)
    names = vocabulary or own_names(lines)
    splits = splits_of(lines, train_fraction)
    reporter = reporter or Reporter([(STAGE, 1.0)])
    with new_folder(out) as folder, reporter.stage(STAGE, len(lines)):
        (folder / IMAGE_FOLDERS[0]).mkdir()
        graphs = []
        for number, line in enumerate(lines, start=1):
            size = store_photo(line, folder / IMAGE_FOLDERS[0] / str(number), link)
            graphs.append(line_graph(line, names, size))
            reporter.advance()
        write_annotations(folder, graphs, range(1, len(lines) + 1), splits, names)
    return len(lines)


def log_outside(folder: Path, lines: Sequence[Line]) -> None:
    """Log which photos are not in the file's folder: they are copied, as the file says."""
    readable, outside = ReadableFolders([folder]), []
    for line in lines:
        try:
            readable.check(line.image, line.where)
        except InputError:
            outside.append(line.image)
    if outside:
        count = f"{len(outside)} of {len(lines)}"
        logger.warning("%s photos are outside of %s (%s)", count, folder, outside[0])


def read_lines(path: Path) -> list[Line]:
    """The lines of the file, each of the right form; empty ones are skipped.

    Raises:
        InputError: the file is missing or empty, or a line has another form.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        got = error.strerror if isinstance(error, OSError) else error
        raise bad_input(path, "a JSON Lines file in UTF-8", got) from None
    lines = [
        _line(path, number, row)
        for number, row in enumerate(text.split("\n"), start=1)
        if row.strip()
    ]
    if not lines:
        raise bad_input(path, "a photo in each line", "an empty file")
    return lines


def _line(path: Path, number: int, text: str) -> Line:
    where = f"{path} line {number}"
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise bad_input(where, "a JSON object", error) from None
    if not isinstance(data, dict) or "image" not in data or "labels" not in data:
        raise bad_input(where, "an object with 'image', 'labels', 'boxes', 'triples'", text[:60])
    unknown = sorted(set(data) - _KEYS)
    if unknown:
        raise bad_input(where, f"only the keys {sorted(_KEYS)}", unknown)
    labels = _list_of(data["labels"], _is_name, f"{where} labels", "a list of names")
    boxes = _list_of(data.get("boxes", []), _is_box, f"{where} boxes", "a list of [x1, y1, x2, y2]")
    triples = _list_of(
        data.get("triples", []), _is_triple, f"{where} triples", 'a list of [0, "on", 1]'
    )
    if not _is_name(data["image"]):
        raise bad_input(f"{where} image", "a path", repr(data["image"]))
    size, split = data.get("image_size"), data.get("split")
    if size is not None and not (_is_list(size, 2) and all(_is_index(s) and s for s in size)):
        raise bad_input(f"{where} image_size", "[height, width]", size)
    if split not in (None, "train", "test"):
        raise bad_input(f"{where} split", "'train' or 'test'", repr(split))
    return Line(
        where,
        Path(image_path(path.parent, data["image"])),
        [label.strip() for label in labels],
        boxes,
        [(s, p.strip(), o) for s, p, o in triples],
        None if size is None else (size[0], size[1]),
        split,
        _scores(data.get("triple_scores"), len(triples), where),
        _list_of(data.get("captions", []), _is_text, f"{where} captions", "a list of sentences"),
    )


def _scores(value: Any, count: int, where: str) -> list[float | None]:
    """The score of each of `count` triples, None of humans' ones."""
    if value is None:
        return [None] * count
    expected = "for each triple a probability in 0..1, or null: a human annotated it"
    scores = _list_of(value, _is_score, f"{where} triple_scores", expected)
    if len(scores) != count:
        raise bad_input(f"{where} triple_scores", expected, f"{len(scores)} for {count} triples")
    return scores


def _list_of(value: Any, good: Any, where: str, expected: str) -> list[Any]:
    if not isinstance(value, list):
        raise bad_input(where, expected, repr(value)[:60])
    for place, item in enumerate(value):
        if not good(item):
            raise bad_input(f"{where}[{place}]", expected, repr(item)[:60])
    return value


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_score(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 <= value <= 1)


def _is_list(value: Any, length: int) -> bool:
    return isinstance(value, list) and len(value) == length


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_box(value: Any) -> bool:
    return _is_list(value, 4) and all(type(v) in (int, float) for v in value)


def _is_triple(value: Any) -> bool:
    return _is_list(value, 3) and _is_index(value[0]) and _is_name(value[1]) and _is_index(value[2])


def own_names(lines: Sequence[Line], need_predicates: bool = True) -> Vocabulary:
    """All names of the lines, alphabetically.

    Raises:
        InputError: there are no labels, or no triples and `need_predicates`.
    """
    objects = sorted({label for line in lines for label in line.labels})
    predicates = sorted({predicate for line in lines for _, predicate, _ in line.triples})
    if not objects or (need_predicates and not predicates):
        expected = "some labels and some triples (data relate proposes triples)"
        got = f"{len(objects)} names of objects, {len(predicates)} of predicates"
        raise bad_input(lines[0].where.rsplit(" line", 1)[0], expected, got)
    return Vocabulary.from_names(objects, predicates)


def splits_of(lines: Sequence[Line], train_fraction: float) -> list[int]:
    """`TRAIN` or `TEST` of each line; see `convert_lines`.

    Raises:
        InputError: some lines state a split and others do not, or the fraction is none.
    """
    if not 0 <= train_fraction <= 1:
        raise bad_input("train_fraction", "0..1", train_fraction)
    stated = [line for line in lines if line.split is not None]
    if stated and len(stated) < len(lines):
        without = next(line for line in lines if line.split is None)
        raise bad_input(without.where, "a 'split', as other lines have one", "none")
    cut = int(len(lines) * train_fraction)
    if stated:
        return [TRAIN if line.split == "train" else TEST for line in lines]
    return [TRAIN if place < cut else TEST for place in range(len(lines))]


def line_graph(line: Line, vocabulary: Vocabulary, size: ImageSize) -> SceneGraph:
    """The graph of a line, whose photo has this (height, width); scores are NaN for human triples.

    Raises:
        InputError: a name is unknown, a box is not in the photo, or a triple joins no two objects.
    """
    try:
        labels = [vocabulary.object_id(name) for name in line.labels]
        triples = [(s, vocabulary.predicate_id(p), o) for s, p, o in line.triples]
    except InputError as error:
        raise InputError(f"{line.where}: {error}") from None
    graph = make_graph(labels, line.boxes, triples, size, line.where, strict=True)
    if all(score is None for score in line.triple_scores):
        return graph
    scores = [torch.nan if score is None else score for score in line.triple_scores]
    return replace(graph, triple_scores=torch.tensor(scores))


def store_photo(line: Line, target: Path, link: bool) -> ImageSize:
    """Put the photo to `target` with a suffix, upright; its (height, width) as it is seen."""
    try:
        pixels = read_image(line.image)
    except InputError as error:
        raise InputError(f"{line.where}: {error}") from None
    size = (pixels.shape[1], pixels.shape[2])
    with Image.open(line.image) as image:
        turned = image.getexif().get(_ORIENTATION, 1) != 1
        plain = image.format == "JPEG" and image.mode in ("RGB", "L") and not turned
    if line.image_size is not None and line.image_size != size:
        turn = "; its EXIF data turn it" if turned else ""
        got = f"[height, width] = {list(line.image_size)}{turn}"
        raise bad_input(f"{line.where} image_size", f"{list(size)} as {line.image} is seen", got)
    if plain:
        copy_photo(line.image, target.with_suffix(".jpg"), link)
    else:  # readers of VG150 files ignore EXIF orientation; other formats may be animated
        save_image(target.with_suffix(".png"), pixels)
    return size


def copy_photo(source: Path, target: Path, link: bool) -> None:
    """Copy a file, or link it where the file system can.

    Raises:
        InputError: the system refuses to write there.
    """
    if link:
        try:
            os.link(source.resolve(), target)  # of a link, link() makes a link
            return
        except OSError:  # another file system
            pass
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise bad_input(target, "a path that can be written", error.strerror or error) from None
