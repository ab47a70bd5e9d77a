"""Photos in, their scene graphs out: one JSON Lines file for files and folders of photos."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from torch import Tensor

from autoenc_sg.core.atomic_files import check_place, replacing
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.images import read_image
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.images.photo_files import photo_files
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.features import PhotoFeatures, as_arrays
from autoenc_sg.pipelines.given_boxes import GivenEntry, read_given
from autoenc_sg.pipelines.options import ParseOptions
from autoenc_sg.pipelines.reconstruct import FEWEST_OBJECTS
from autoenc_sg.pipelines.unfamiliar import better_weights, looks_unfamiliar
from autoenc_sg.visualization.progress import Reporter

logger = logging.getLogger(__name__)


@dataclass
class ParsedPhotos:
    """What came of the photos.

    Attributes:
        done: how many have a line in the file.
        failures: one error for each of the others.
        few_objects: in how many of those that are done fewer than two objects were found.
        unfamiliar: how many of the others have scores below the limit of the model's `about`.
    """

    done: int = 0
    few_objects: int = 0
    unfamiliar: int = 0
    failures: list[InputError] = field(default_factory=list)


def parse_photos_to_file(
    model: AutoEncoder,
    photos: Sequence[Path],
    out: Path,
    options: ParseOptions,
    reporter: Reporter,
) -> ParsedPhotos:
    """Write a line `{"image": path, "objects": ..., "relationships": ...}` for each photo.

    Photos that cannot be read do not stop the others. The file appears whole or not at all.

    Raises:
        InputError: no photo, a folder without photos, or a file that cannot be written.
    """
    files = find_photos(photos)
    check_place(out)
    if options.features is not None:
        check_place(options.features)
    all_entries = None if options.boxes is None else read_given(options.boxes, files)
    result = ParsedPhotos()
    features: list[PhotoFeatures] = []
    names: list[str] = []
    with (
        replacing(out) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as lines,
        reporter.stage("parse", len(files)),
    ):
        for start in range(0, len(files), options.batch_size):
            part = slice(start, start + options.batch_size)
            entries = None if all_entries is None else all_entries[part]
            for photo, parsed in _parse(model, files[part], entries, options):
                if isinstance(parsed, InputError):
                    result.failures.append(parsed)
                else:
                    _write_line(lines, photo, parsed.graph)
                    result.done += 1
                    few = len(parsed.graph) < FEWEST_OBJECTS
                    result.few_objects += few
                    result.unfamiliar += not few and looks_unfamiliar(model, parsed.graph, options)
                    if options.features is not None:
                        features.append(parsed)
                        names.append(str(photo))
                reporter.advance(note=photo.name)
        if result.done == 0:
            raise result.failures[0]
    _warn(model, result, options, given=all_entries is not None)
    if options.features is not None:
        _write_features(options.features, names, features)
    return result


def _warn(model: AutoEncoder, result: ParsedPhotos, options: ParseOptions, given: bool) -> None:
    """Say what to try where photos have few objects (unless boxes were given) or low scores."""
    if result.few_objects and not given:
        threshold = options.object_threshold or model.config.decode.object_threshold
        logger.warning(
            "%d of %d photos have fewer than two objects with a class score of %g or more; lower "
            "it with --object-threshold, or use weights that know such photos",
            result.few_objects,
            result.done,
            threshold,
        )
    if result.unfamiliar and (weights := better_weights(model)):
        logger.warning(
            "in %d of %d photos the objects have low scores; %s",
            result.unfamiliar,
            result.done,
            weights,
        )


def find_photos(paths: Sequence[Path]) -> list[Path]:
    """The files named, and the image files in and below the folders named, in order of their names.

    Raises:
        InputError: nothing is named, or a folder holds no image file.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += photo_files(path)
        else:
            files.append(path)
    if not files:
        raise bad_input("photos", "one file or folder, or more", "none")
    return files


def _parse(
    model: AutoEncoder,
    files: Sequence[Path],
    entries: Sequence[GivenEntry | InputError] | None,
    options: ParseOptions,
) -> Iterator[tuple[Path, PhotoFeatures | InputError]]:
    """Each file with its graph and features, or its error; the readable ones as one batch."""
    results: dict[Path, PhotoFeatures | InputError] = {}
    readable: list[tuple[Path, Tensor, GivenEntry | None]] = []
    for i, file in enumerate(files):
        entry = None if entries is None else entries[i]
        try:
            if isinstance(entry, InputError):
                raise entry
            readable.append((file, read_image(file), entry))
        except InputError as error:
            results[file] = error
    try:
        parsed = _features(model, readable, options)
        results |= {file: item for (file, _, _), item in zip(readable, parsed)}
    except InputError:  # of one photo: the others are done without it
        for photo in readable:
            try:
                (results[photo[0]],) = _features(model, [photo], options)
            except InputError as error:
                results[photo[0]] = InputError(f"{photo[0]}: {error}")
    yield from ((file, results[file]) for file in files)


def _features(
    model: AutoEncoder,
    photos: Sequence[tuple[Path, Tensor, GivenEntry | None]],
    options: ParseOptions,
) -> list[PhotoFeatures]:
    boxes = [entry.boxes for _, _, entry in photos if entry is not None]
    labels = [entry.objects for _, _, entry in photos if entry is not None]
    return model.features(
        [image for _, image, _ in photos],
        boxes or None,
        labels or None,
        batch_size=options.batch_size,
        object_threshold=options.object_threshold,
        edge_threshold=options.edge_threshold,
    )


def _write_line(lines: TextIO, photo: Path, graph: SceneGraph) -> None:
    json.dump({"image": str(photo), **graph.to_dict()}, lines, ensure_ascii=False)
    lines.write("\n")


def _write_features(file: Path, names: Sequence[str], features: Sequence[PhotoFeatures]) -> None:
    with replacing(file) as temporary, temporary.open("wb") as stream:
        arrays: dict[str, Any] = {"images": np.array(names), **as_arrays(features)}
        np.savez(stream, **arrays)
