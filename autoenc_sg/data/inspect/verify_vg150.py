"""Checks of the three annotation files of VG150.

`vg150.files.read_annotations` stops at the first mistake; here all of them are reported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.json_files import read_json
from autoenc_sg.data.inspect.findings import Finding, Severity, findings_of
from autoenc_sg.data.vg150.files import (
    BOX_SCALE,
    TEST,
    TRAIN,
    decode_boxes,
    file_paths,
    read_image_data,
    read_relation_scores,
    read_tables,
    read_vocabulary,
    without_broken,
)

Array = NDArray[Any]
Tables = dict[str, Array]

VG150_SIZES = (151, 51)
# Of the 151 + 51 names of the published VG150, reserved ones included, one a line.
_VG150_NAMES = "39e092d5edd0e82870d1227174d25132e770f85c9413554594c0a114cc9b64e0"
_SLACK = 0.02  # of the long side
_FEW = 0.001
_SPLITS = (("train", TRAIN), ("test", TEST))
_AGAIN = "get the file again, or build it: autoenc-sg data vg150 --raw"


class _Owned(NamedTuple):
    """Which image each box and relation belongs to (-1: none), and each image's id."""

    boxes: Array
    relations: Array
    ids: Array

    def image(self, row: int) -> str:
        """Name of the image in this row of the h5."""
        return f"image {self.ids[row]}" if row < len(self.ids) else f"image row {row}"


def vg150_findings(root: Path) -> list[Finding]:
    """All that is wrong in the h5, the dicts and image_data.json of a folder."""
    path, dicts_path = file_paths(root)
    findings: list[Finding] = []
    tables = _read(path, read_tables, findings)
    vocabulary = _read(dicts_path, read_vocabulary, findings)
    sizes = _read(root / "image_data.json", read_image_data, findings)
    if vocabulary is not None:
        findings += _vocabulary_findings(dicts_path, vocabulary)
    arrays = None if tables is None else {name: t.numpy() for name, t in tables.items()}
    images = None if sizes is None else _images(sizes, arrays, findings)
    if arrays is not None:
        is_pseudo = _pseudo_flags(path, len(arrays["predicates"]), findings)
        findings += _table_findings(arrays, vocabulary, images)
        findings += _split_findings(arrays, is_pseudo)
    return findings


def _read(path: Path, read: Any, findings: list[Finding]) -> Any:
    """The result of `read`; None, with a finding, if it raises."""
    if not path.is_file():
        findings += findings_of("error", "absent file", [path], _AGAIN)
        return None
    try:
        return read(path)
    except InputError as error:
        findings += findings_of("error", "damaged file", [error], _AGAIN)
        return None


def _images(sizes: torch.Tensor, tables: Tables | None, findings: list[Finding]) -> Array | None:
    """Id, height and width of the h5's images `[N, 3]`, or None if their number differs."""
    ids, counts = sizes[:, 0].unique(return_counts=True)
    remedy = "keep one entry of each image in image_data.json"
    findings += findings_of("error", "image ids twice", ids[counts > 1].tolist(), remedy)
    if tables is None:
        return None
    count = len(tables["split"])
    table: Array = without_broken(sizes, count).numpy()
    if len(table) == count:
        return table
    place = f"{len(sizes)} in image_data.json, {count} in the h5"
    remedy = "take both files from one source: images correspond by their order"
    findings += findings_of("error", "numbers of images that differ", [place], remedy)
    return None


def _vocabulary_findings(path: Path, vocabulary: Vocabulary) -> Iterator[Finding]:
    dicts = read_json(path)
    for kind, names in (("label", vocabulary.objects), ("predicate", vocabulary.predicates)):
        back = dicts.get(f"idx_to_{kind}")
        if isinstance(back, dict):
            wrong = [i for i, name in enumerate(names) if i and back.get(str(i)) != name]
            remedy = f"idx_to_{kind} has to be the inverse of {kind}_to_idx; {_AGAIN}"
            yield from findings_of("error", f"idx_to_{kind} that contradicts", wrong, remedy)
    if (vocabulary.num_objects, vocabulary.num_predicates) != VG150_SIZES:
        return
    text = "\n".join([*vocabulary.objects, *vocabulary.predicates])
    if hashlib.sha256(text.encode()).hexdigest() == _VG150_NAMES:
        return
    falls = [
        f"{names[i]!r} after {names[i - 1]!r}"
        for names in (vocabulary.objects, vocabulary.predicates)
        for i in range(2, len(names))
        if names[i] < names[i - 1]
    ]
    remedy = "VG150's ids are in alphabetical order; others' weights will name things wrongly"
    yield from findings_of("warning", "vocabulary out of order", falls, remedy)
    remedy = "published weights and figures are of other classes"
    yield from findings_of(
        "note", "another vocabulary than VG150's", [] if falls else [path], remedy
    )


def _table_findings(
    tables: Tables, vocabulary: Vocabulary | None, images: Array | None
) -> Iterator[Finding]:
    if vocabulary is not None:
        for name, kind, most in (
            ("labels", "labels", vocabulary.num_objects - 1),
            ("predicates", "predicates", vocabulary.num_predicates - 1),
        ):
            values = tables[name][:, 0]
            rows = np.flatnonzero((values < 1) | (values > most))
            remedy = f"ids are 1..{most}; take the h5 and the dicts from one source"
            yield from findings_of(
                "error", f"{kind} outside of the dicts", _rows(name, rows), remedy
            )
    split = tables["split"]
    rows = np.flatnonzero((split != TRAIN) & (split != TEST))
    yield from findings_of("error", "split that is neither 0 nor 2", _rows("split", rows), _AGAIN)
    rows = np.flatnonzero((tables["boxes_1024"][:, 2:] < 1).any(1))
    remedy = "w and h are at least 1; " + _AGAIN
    yield from findings_of("error", "boxes without area", _rows("boxes_1024", rows), remedy)
    parts = [_ranges(tables, kind) for kind in ("box", "rel")]
    yield from chain.from_iterable(findings for findings, _ in parts)
    box_owner, relation_owner = (owner for _, owner in parts)
    if box_owner is not None and relation_owner is not None and len(split):
        ids = np.arange(0) if images is None else images[:, 0]
        owned = _Owned(box_owner, relation_owner, ids)
        yield from _relation_findings(tables, owned)
        yield from _box_findings(tables, owned, images)
        yield from _unused(tables, owned, vocabulary)


def _pseudo_flags(path: Path, count: int, findings: list[Finding]) -> Array:
    """Which of the relations are pseudo-relations: `[count]` bool."""
    scores = _read(path, lambda file: read_relation_scores(file, count), findings)
    flags = np.zeros(count, bool) if scores is None else ~np.isnan(scores.numpy())
    remedy = "nothing: they are trained on, and never scored against"
    findings += findings_of(
        "note", "pseudo-relations", _rows("predicates", np.flatnonzero(flags)), remedy
    )
    return flags


def _split_findings(tables: Tables, is_pseudo: Array) -> Iterator[Finding]:
    """Splits without images, boxes, relations, or relations of humans."""
    split = tables["split"]
    parts = [(name, split == number) for name, number in _SPLITS]
    empty = [name for name, part in parts if not part.any()]
    remedy = "write 0 (train) and 2 (test) into 'split'"
    yield from findings_of("error", "empty split", empty, remedy)
    parts = [(name, part) for name, part in parts if name not in empty]
    has_boxes = tables["img_to_first_box"] >= 0
    names = [name for name, part in parts if not has_boxes[part].any()]
    yield from findings_of(
        "error", "split without boxes", names, f"its images need boxes; {_AGAIN}"
    )
    first, last = tables["img_to_first_rel"], tables["img_to_last_rel"]
    has_any = first >= 0
    names = [name for name, part in parts if not has_any[part].any()]
    if not is_pseudo.any():
        remedy = f"its images need relations; {_AGAIN}"
        yield from findings_of("error", "split without relations", names, remedy)
        return
    human = np.concatenate([[0], np.cumsum(~is_pseudo)])
    size = len(is_pseudo)
    has_human = has_any & (human[(last + 1).clip(0, size)] > human[first.clip(0, size)])
    yield from findings_of(
        "error", "split without relations", [n for n in names if n == "train"], "see data relate"
    )
    remedy = (
        "recall is measured against relations of humans alone: annotate some of the test images "
        "('triples' in docs/own_data.md)"
    )
    names = [name for name, part in parts if name == "test" and not has_human[part].any()]
    yield from findings_of("warning", "split without human relations", names, remedy)


def _rows(name: str, rows: Array) -> Iterator[str]:
    return (f"{name!r} row {row}" for row in rows)


def _ranges(tables: Tables, kind: str) -> tuple[list[Finding], Array | None]:
    """Findings about the images' ranges, and the image of each row, None if a range is invalid."""
    first, last = tables[f"img_to_first_{kind}"], tables[f"img_to_last_{kind}"]
    count = len(tables["labels" if kind == "box" else "predicates"])
    none = (first == -1) & (last == -1)
    wrong = ~none & ((first < 0) | (last < first) | (last >= count))
    name = f"img_to_first_{kind}"
    findings = [
        *findings_of("error", "impossible ranges", _rows(name, np.flatnonzero(wrong)), _AGAIN)
    ]
    if findings:
        return findings, None
    images = np.flatnonzero(~none)
    edges = np.zeros(count + 1, np.int64)
    np.add.at(edges, first[images], 1)
    np.add.at(edges, last[images] + 1, -1)
    times = edges.cumsum()[:-1]
    rows = _rows("labels" if kind == "box" else "predicates", np.flatnonzero(times > 1))
    findings += findings_of("error", "rows of two images", rows, _AGAIN)
    rows = _rows("labels" if kind == "box" else "predicates", np.flatnonzero(times == 0))
    findings += findings_of("note", "rows of no image", rows, "nothing: they are not used")
    owner = np.full(count, -1)
    for image in images:  # a slice each: 100,000 of them take a tenth of a second
        owner[first[image] : last[image] + 1] = image
    return findings, owner


def _relation_findings(tables: Tables, owned: _Owned) -> Iterator[Finding]:
    ends, owner = tables["relationships"], owned.relations
    within = (ends >= 0) & (ends < len(owned.boxes))
    same = within & (owned.boxes[ends.clip(0, max(len(owned.boxes) - 1, 0))] == owner[:, None])
    rows = np.flatnonzero((owner >= 0) & ~same.all(1))
    places = (f"{owned.image(owner[r])}, row {r}: {ends[r].tolist()}" for r in rows)
    remedy = "relationships hold rows of 'labels', of the same image; " + _AGAIN
    yield from findings_of("error", "relations to boxes of another image", places, remedy)
    rows = np.flatnonzero((owner >= 0) & (ends[:, 0] == ends[:, 1]))
    places = (f"{owned.image(owner[r])}, row {r}" for r in rows)
    remedy = "the published rules drop them; " + _AGAIN
    yield from findings_of("error", "relations of a thing to itself", places, remedy)
    key = np.concatenate([owner[:, None], ends, tables["predicates"]], 1)
    rows = _repeated(key)
    rows = rows[owner[rows] >= 0]
    places = (f"{owned.image(owner[r])}, row {r}" for r in rows)
    remedy = "nothing, if few: the published test split has such; recall counts each of them"
    yield from findings_of("note", "relations twice", places, remedy)


def _box_findings(tables: Tables, owned: _Owned, images: Array | None) -> Iterator[Finding]:
    stored, owner = tables["boxes_1024"], owned.boxes
    rows = _repeated(np.concatenate([owner[:, None], tables["labels"], stored], 1))
    rows = rows[owner[rows] >= 0]
    places = (f"{owned.image(owner[r])}, row {r}" for r in rows)
    severity: Severity = "warning" if len(rows) > _FEW * len(owner) else "note"
    remedy = "nothing, if few: the published rules, too, leave some; each counts as an object"
    yield from findings_of(severity, "boxes twice", places, remedy)
    if images is None:
        return
    sizes = images[:, 1:]
    limits = (sizes[:, ::-1] * BOX_SCALE / sizes.max(1, keepdims=True, initial=1))[owner]
    boxes = decode_boxes(torch.from_numpy(stored)).numpy()
    slack = _SLACK * BOX_SCALE
    beyond = (boxes[:, :2] < -slack).any(1) | (boxes[:, 2:] > limits + slack).any(1)
    rows = np.flatnonzero((owner >= 0) & beyond)
    places = (f"{owned.image(owner[r])}, row {r}: {boxes[r].astype(int).tolist()}" for r in rows)
    remedy = "they are cut at the border, or left out; if many: image_data.json has wrong sizes"
    yield from findings_of("warning", "boxes out of bounds", places, remedy)


def _repeated(key: Array) -> Array:
    """Rows `[K]` of the table `[R, D]` that are equal to an earlier row."""
    order = np.lexsort(key.T[::-1])  # stable, so of equal rows the first one comes first
    ordered = key[order]
    return np.sort(order[1:][(ordered[1:] == ordered[:-1]).all(1)])


def _unused(tables: Tables, owned: _Owned, vocabulary: Vocabulary | None) -> Iterator[Finding]:
    """Classes and predicates without an example in the train split."""
    if vocabulary is None or not len(owned.boxes):
        return
    for name, kind, names, owner in (
        ("labels", "classes", vocabulary.objects, owned.boxes),
        ("predicates", "predicates", vocabulary.predicates, owned.relations),
    ):
        train = (owner >= 0) & (tables["split"][owner] == TRAIN)
        used_ids = set(np.unique(tables[name][train, 0]).tolist())
        unused_names = [text for i, text in enumerate(names) if i and i not in used_ids]
        remedy = "they cannot be learned; recall by predicate shows them as 0"
        yield from findings_of("note", f"{kind} without a train example", unused_names, remedy)
