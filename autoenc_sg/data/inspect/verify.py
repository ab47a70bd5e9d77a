"""`autoenc-sg data verify`: checks of a data set of any format."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py

from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.h5_files import H5_ERRORS
from autoenc_sg.data.images.store import ImageStore, Place, find_images
from autoenc_sg.data.inspect.findings import Finding, Verification, findings_of, worst_first
from autoenc_sg.data.inspect.verify_images import ExpectedImage, image_findings
from autoenc_sg.data.inspect.verify_splits import SPLITS, verify_splits
from autoenc_sg.data.inspect.verify_vg150 import vg150_findings
from autoenc_sg.data.open import check_links, open_dataset, readable_folders
from autoenc_sg.data.vg150.counts import count_images
from autoenc_sg.data.vg150.files import TRAIN, VG150Annotations, file_paths, read_annotations
from autoenc_sg.visualization.progress import Reporter
from autoenc_sg.visualization.tables import Cell, Table


def verify(
    config: DataConfig, decode: bool = True, reporter: Reporter | None = None
) -> Verification:
    """Check the annotation files and all images of a data set; nothing is changed.

    Args:
        config: which data set; filters, flips, shrinking and caches do not matter.
        decode: see `verify_images.image_findings`.
        reporter: gets the images done, as the stage `verify_images.STAGE`.

    Raises:
        InputError: the folder, or that of its images, does not exist.
    """
    plain = replace(config, filter_empty_relations=False, cache="", short_side=0, flip=False)
    check = _verify_vg150 if plain.format in ("vg150", "scenes") else verify_splits
    counts, findings = check(plain, decode, reporter)
    if not any(finding.severity == "error" for finding in findings):
        findings = [*findings, *_opening_findings(replace(config, cache=""))]
    return Verification(config.root, counts, worst_first(findings))


def _opening_findings(config: DataConfig) -> Iterator[Finding]:
    """What training says when it opens the splits, and names of the vocabulary that look alike."""
    for split in SPLITS:
        try:
            dataset = open_dataset(config, split)
        except InputError as error:
            remedy = "correct what the line names"
            yield from findings_of("error", "split that cannot be opened", [error], remedy)
            return
        if split == "train":
            yield from _alike(dataset.vocabulary)
            empty = [] if len(dataset) else ["train, with data.filter_empty_relations"]
            remedy = "there has to be an image with relations in it"
            yield from findings_of("error", "empty split", empty, remedy)


def _alike(vocabulary: Vocabulary) -> Iterator[Finding]:
    places = []
    for names in (vocabulary.objects, vocabulary.predicates):
        groups: dict[str, list[str]] = defaultdict(list)
        for name in names:
            groups[" ".join(name.casefold().split())].append(name)
        places += [" = ".join(map(repr, group)) for group in groups.values() if len(group) > 1]
    remedy = "they are different classes; if they are one, give them one name"
    yield from findings_of("warning", "names that differ only in blanks or case", places, remedy)


def _verify_vg150(
    config: DataConfig, decode: bool, reporter: Reporter | None
) -> tuple[Table, list[Finding]]:
    root = Path(config.root)
    try:
        check_links(config)
    except InputError as error:
        remedy = "copy it there, or say --allow-outside"
        finding = findings_of("error", "files outside of the folder", [error], remedy)
        return _rows_of(root), [*finding]
    findings = vg150_findings(root)
    if any(finding.severity == "error" for finding in findings):
        data, counts = None, _rows_of(file_paths(root)[0])
    else:
        data = read_annotations(root)
    annotated = [] if data is None else _wanted(data)
    places: dict[int, Place] = {}
    try:
        places = find_images(
            root, root / config.images if config.images else None, readable_folders(config)
        )
    except InputError as error:
        remedy = "correct what the line names: get the file again, or remove it"
        findings += findings_of("error", "damaged container of images", [error], remedy)
        annotated = []
    if data is not None:
        counts = count_images(data, places)
        note = f"{len(data.labels):,} objects, {len(data.predicates):,} relations; {counts.note}"
        counts = replace(counts, note=note)
        findings += image_findings(annotated, ImageStore(places), decode, reporter)
    return counts, findings


def _wanted(data: VG150Annotations) -> list[ExpectedImage]:
    rows = zip(data.image_ids.tolist(), data.split.tolist(), data.sizes.tolist())
    return [
        ExpectedImage(image_id, "train" if split == TRAIN else "test", (height, width))
        for image_id, split, (height, width) in rows
    ]


def _rows_of(path: Path) -> Table:
    """The rows of each data set of an h5 that may be damaged; none if it cannot be read."""
    rows: list[list[Cell]] = []
    try:
        with h5py.File(path, "r") as file:
            rows = [[str(name), len(file[name])] for name in sorted(file, key=str)]
    except H5_ERRORS:
        pass
    return Table(f"Rows of {path.name}", ["data set", "rows"], rows)
