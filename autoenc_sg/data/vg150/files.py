"""The VG150 files: `VG-SGG.h5`, `VG-SGG-dicts.json`, `image_data.json` and the images' folder.

Layout of Xu et al. ("Scene Graph Generation by Iterative Message Passing", vg_to_roidb.py), as read
by Neural Motifs and Scene-Graph-Benchmark. N images, B boxes and R relations of all images:

    labels          (B, 1)  class ids from 1
    boxes_1024      (B, 4)  xc, yc, w, h; the image's long side scaled to 1024 (boxes_512: to 512)
    predicates      (R, 1)  predicate ids from 1
    relationships   (R, 2)  subject and object: rows of `labels`, counted over the whole file
    img_to_first_box, img_to_last_box, img_to_first_rel, img_to_last_rel
                    (N,)    inclusive ranges of rows; -1: none
    split           (N,)    0 train, 2 test

`data relate` adds pseudo-relations, proposed by a program, to the train split. They are in the same
tables, so that other programs read them as relations, and are marked by two optional data sets:

    relation_is_pseudo  (R,)  integers, 1: proposed, 0: annotated by a human
    relation_scores     (R,)  floats, the probability of a proposed one; not used of the others
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autoenc_sg.config.data import PseudoUse
from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.json_files import MALFORMED_ERRORS, malformed, read_json
from autoenc_sg.data.base.samples import LONGEST_SIDE
from autoenc_sg.data.h5_files import present_arrays, read_arrays
from autoenc_sg.data.vg150.ignored import read_ignored

logger = logging.getLogger(__name__)

BOX_SCALE = 1024
IMAGE_FOLDERS = ("VG_100K", "VG_100K_2", "")
TRAIN, TEST = 0, 2
_NAMES = (
    ("VG-SGG.h5", "VG-SGG-dicts.json"),
    ("VG-SGG-with-attri.h5", "VG-SGG-dicts-with-attri.json"),
)
# Image files that were broken when VG150 was made: in image_data.json, but not in the h5.
BROKEN_IMAGES = frozenset({1592, 1722, 4616, 4617})
_RANGES = ("img_to_first_box", "img_to_last_box", "img_to_first_rel", "img_to_last_rel")
PSEUDO, SCORES = "relation_is_pseudo", "relation_scores"
_COLUMNS = {"labels": 1, "boxes_1024": 4, "predicates": 1, "relationships": 2}


@dataclass(frozen=True, eq=False)
class VG150Annotations:
    """All annotations of the files, in memory.

    Attributes:
        labels: `[B]` int64.
        raw_boxes: `[B, 4]` float xyxy, the image's long side being 1024; not clipped to the image.
        predicates: `[R]` int64.
        relationships: `[R, 2]` int64, rows of `labels`.
        box_ranges, rel_ranges: `[N, 2]` int64, first row and one past the last; equal where none.
        split: `[N]` int64, `TRAIN` or `TEST`.
        image_ids: `[N]` int64.
        sizes: `[N, 2]` int64, height and width in pixels as image_data.json has them.
        vocabulary: the names.
        relation_scores: `[R]` in [0, 1], the probability of a pseudo-relation, NaN for a relation
            that a human annotated; None: all are human.
        root: the folder of the files.
        ignored: `[K, 6]` float, the regions of `vg150.ignored`: image row, class id and box as in
            `raw_boxes`; None: there are none.
    """

    labels: Tensor
    raw_boxes: Tensor
    predicates: Tensor
    relationships: Tensor
    box_ranges: Tensor
    rel_ranges: Tensor
    split: Tensor
    image_ids: Tensor
    sizes: Tensor
    vocabulary: Vocabulary
    relation_scores: Tensor | None = None
    root: Path = Path()
    ignored: Tensor | None = None

    @property
    def is_pseudo(self) -> Tensor:
        """Which relations were proposed by a program: `[R]` bool."""
        if self.relation_scores is None:
            return torch.zeros(len(self.predicates), dtype=torch.bool)
        return ~self.relation_scores.isnan()

    def image_size(self, row: int) -> ImageSize:
        """(height, width) of an image in pixels."""
        height, width = self.sizes[row].tolist()
        return height, width


def use_pseudo_relations(
    data: VG150Annotations, use: PseudoUse, least_score: float = 0.0
) -> VG150Annotations:
    """The annotations with the pseudo-relations that are to be trained on.

    Args:
        data: as read.
        use: `by_score`: each with its score; `equal`: all with a score of 1; `none`: none.
        least_score: those with a lower score are left out.
    """
    scores = data.relation_scores
    if scores is None:
        return data
    kept = ~data.is_pseudo
    if use != "none":
        kept |= scores >= least_score
    if use == "equal":
        scores = torch.where(scores.isnan(), scores, torch.ones_like(scores))
    position = torch.cat([torch.zeros(1, dtype=torch.int64), kept.long().cumsum(0)])
    return replace(
        data,
        predicates=data.predicates[kept],
        relationships=data.relationships[kept],
        rel_ranges=position[data.rel_ranges],
        relation_scores=None if use == "none" else scores[kept],
    )


def decode_boxes(stored: Tensor) -> Tensor:
    """Stored int `[B, 4]` (xc, yc, w, h) to float xyxy.

    `x1 = trunc(xc - w / 2), x2 = x1 + w`, as Neural Motifs and Scene-Graph-Benchmark compute it in
    an int32 array: for odd `w` the box lies one unit (of 1024) lower than what was encoded.
    Published figures contain this, so it is kept.
    """
    low = (stored[:, :2] - stored[:, 2:] / 2).to(stored.dtype)  # truncates towards 0
    return torch.cat([low, low + stored[:, 2:]], 1).float()


def read_annotations(root: Path) -> VG150Annotations:
    """Read and check the three annotation files in `root`.

    The names of the variant with attributes (`VG-SGG-with-attri.h5`) are found too. That boxes lie
    outside of their images (some of Visual Genome's do) is logged.

    Raises:
        InputError: a file is missing or damaged, a key is missing, an id or a row is out of range,
            or a box has no area.
    """
    path, dicts_path = file_paths(root)
    tables = read_tables(path)
    vocabulary = read_vocabulary(dicts_path)
    ids_sizes = _sizes_of(root / "image_data.json", len(tables["split"]))
    _check_ids(path, "labels", tables["labels"], 1, vocabulary.num_objects - 1)
    _check_ids(path, "predicates", tables["predicates"], 1, vocabulary.num_predicates - 1)
    _check_ids(path, "relationships", tables["relationships"], 0, len(tables["labels"]) - 1)
    if not torch.isin(tables["split"], torch.tensor([TRAIN, TEST])).all():
        raise bad_input(
            f"{path} 'split'", "0 (train) or 2 (test)", tables["split"].unique().tolist()
        )
    box_ranges = _ranges(path, tables, "box", len(tables["labels"]))
    rel_ranges = _ranges(path, tables, "rel", len(tables["predicates"]))
    _check_owners(path, tables["relationships"], box_ranges, rel_ranges)
    _check_extents(path, tables["boxes_1024"])
    data = VG150Annotations(
        tables["labels"][:, 0],
        decode_boxes(tables["boxes_1024"]),
        tables["predicates"][:, 0],
        tables["relationships"],
        box_ranges,
        rel_ranges,
        tables["split"],
        ids_sizes[:, 0],
        ids_sizes[:, 1:],
        vocabulary,
        read_relation_scores(path, len(tables["predicates"])),
        root,
        _ignored(path, len(tables["split"]), vocabulary.num_objects),
    )
    outside = len(boxes_outside(data))
    if outside:
        logger.warning("%s: %d boxes outside of their images are left out", path, outside)
    return data


def _ignored(path: Path, num_images: int, num_classes: int) -> Tensor | None:
    stored = read_ignored(path, num_images, num_classes)
    if stored is None:
        return None
    return torch.cat([stored[:, :2].float(), decode_boxes(stored[:, 2:])], 1)


def file_paths(root: Path) -> tuple[Path, Path]:
    """The h5 and the dicts in `root`: the plain ones, or else those with attributes."""
    h5_name, dicts_name = next((n for n in _NAMES if (root / n[0]).exists()), _NAMES[0])
    return root / h5_name, root / dicts_name


def read_tables(path: Path) -> dict[str, Tensor]:
    """The data sets of the h5 as int64, of the right shapes; their values are not checked.

    Raises:
        InputError: the file is missing or damaged, or a data set is missing or of another shape.
    """
    names = (*_COLUMNS, "split", *_RANGES)
    arrays = read_arrays(path, names, "the annotations of VG150")
    rows = {name: array.shape[0] if array.ndim else 1 for name, array in arrays.items()}
    for name, array in arrays.items():
        shape = (rows[name], _COLUMNS[name]) if name in _COLUMNS else (rows["split"],)
        if array.shape != shape or not np.issubdtype(array.dtype, np.integer):
            got = f"{array.dtype} {list(array.shape)}"
            raise bad_input(f"{path} {name!r}", f"integers of shape {list(shape)}", got)
    for name, parallel_name in (("boxes_1024", "labels"), ("relationships", "predicates")):
        if len(arrays[name]) != len(arrays[parallel_name]):
            raise bad_input(
                f"{path} {name!r}",
                f"{len(arrays[parallel_name])} rows as {parallel_name!r}",
                len(arrays[name]),
            )
    return {name: torch.from_numpy(array.astype(np.int64)) for name, array in arrays.items()}


def read_relation_scores(path: Path, count: int) -> Tensor | None:
    """The scores of `count` relations, see `VG150Annotations`; None if the h5 marks none.

    Raises:
        InputError: the file cannot be read, only one of the two data sets is there, or they are of
            another shape or have other values than stated above.
    """
    present = present_arrays(path, (PSEUDO, SCORES))
    if not present:
        return None
    arrays = read_arrays(path, (PSEUDO, SCORES), "the annotations of VG150")
    for name, kind in ((PSEUDO, np.integer), (SCORES, np.floating)):
        array = arrays[name]
        if array.shape != (count,) or not np.issubdtype(array.dtype, kind):
            expected = f"{'integers' if kind is np.integer else 'floats'} of shape [{count}]"
            raise bad_input(f"{path} {name!r}", expected, f"{array.dtype} {list(array.shape)}")
    flags = torch.from_numpy(arrays[PSEUDO].astype(np.int64))
    scores = torch.from_numpy(arrays[SCORES].astype(np.float32))
    wrong = ((flags != 0) & (flags != 1)).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise bad_input(f"{path} {PSEUDO!r} row {row}", "0 or 1", int(flags[row]))
    wrong = ((flags == 1) & ~((scores >= 0) & (scores <= 1))).nonzero()
    if len(wrong):
        row = int(wrong[0])
        raise bad_input(f"{path} {SCORES!r} row {row}", "0..1", float(scores[row]))
    return scores.masked_fill(flags == 0, torch.nan)


def read_vocabulary(path: Path) -> Vocabulary:
    """The names of a `VG-SGG-dicts.json`.

    Raises:
        InputError: the file is missing or has another form.
    """
    dicts = read_json(path)
    if not isinstance(dicts, dict):
        raise bad_input(path, "an object with 'label_to_idx'", type(dicts).__name__)
    try:
        return Vocabulary.from_vg_dicts(dicts)
    except (InputError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: {error}") from None


def read_image_data(path: Path) -> Tensor:
    """Id, height and width of each image of image_data.json: `[N, 3]` int64.

    Raises:
        InputError: the file is missing or has another form, or no image is of such a size.
    """
    entries = read_json(path)
    if not isinstance(entries, list):
        raise bad_input(path, "a list of images", type(entries).__name__)
    try:
        rows = [
            (int(e.get("image_id", e.get("id"))), int(e["height"]), int(e["width"]))
            for e in entries
        ]
        table = torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)
    except (*MALFORMED_ERRORS, RuntimeError) as error:
        expected = "'image_id', 'height' and 'width' of each image"
        raise malformed(path, expected, error) from None
    wrong = ((table[:, 1:] < 1) | (table[:, 1:] >= LONGEST_SIDE)).any(1).nonzero()
    if len(wrong):
        image_id, height, width = rows[int(wrong[0])]
        expected = f"a height and width >= 1 and < {LONGEST_SIDE}"
        raise bad_input(f"{path} image {image_id}", expected, f"{height} x {width}")
    return table


def without_broken(table: Tensor, count: int) -> Tensor:
    """The images `[N, 3]` of the h5: all if they are `count`, else all but the broken ones."""
    if len(table) == count:
        return table
    return table[~torch.isin(table[:, 0], torch.tensor(sorted(BROKEN_IMAGES)))]


def _sizes_of(path: Path, count: int) -> Tensor:
    every = read_image_data(path)
    table = without_broken(every, count)
    if len(table) != count:
        raise bad_input(path, f"{count} images as in the h5", len(every))
    return table


def _check_ids(path: Path, name: str, values: Tensor, low: int, high: int) -> None:
    bad = ((values < low) | (values > high)).any(1).nonzero()
    if len(bad):
        row = int(bad[0])
        raise bad_input(f"{path} {name!r} row {row}", f"{low}..{high}", values[row].tolist())


def _ranges(path: Path, tables: dict[str, Tensor], kind: str, count: int) -> Tensor:
    first, last = tables[f"img_to_first_{kind}"], tables[f"img_to_last_{kind}"]
    none = (first == -1) & (last == -1)
    good = none | ((first >= 0) & (last >= first) & (last < count))
    if not good.all():
        row = int((~good).nonzero()[0])
        what = f"{path} 'img_to_first_{kind}', 'img_to_last_{kind}' row {row}"
        got = f"{int(first[row])}, {int(last[row])}"
        raise bad_input(what, f"an inclusive range within 0..{count - 1}, or -1, -1", got)
    return torch.stack([first.masked_fill(none, 0), (last + 1).masked_fill(none, 0)], 1)


def owners(ranges: Tensor, count: int) -> Tensor:
    """The image of each row, -1 for rows of no image: `[count]`."""
    sizes = ranges[:, 1] - ranges[:, 0]
    images = torch.repeat_interleave(torch.arange(len(ranges)), sizes)
    starts = torch.repeat_interleave(ranges[:, 0] - (sizes.cumsum(0) - sizes), sizes)
    owners = torch.full((count,), -1)
    owners[torch.arange(len(images)) + starts] = images
    return owners


def _check_owners(path: Path, relations: Tensor, boxes: Tensor, rels: Tensor) -> None:
    """Every relation of an image joins two boxes of that image."""
    owner = owners(rels, len(relations))
    low, high = boxes[owner, 0], boxes[owner, 1]
    ends = (relations >= low[:, None]) & (relations < high[:, None])
    bad = ((owner >= 0) & ~ends.all(1)).nonzero()
    if len(bad):
        row = int(bad[0])
        expected = f"boxes of its own image, {int(low[row])}..{int(high[row]) - 1}"
        raise bad_input(f"{path} 'relationships' row {row}", expected, relations[row].tolist())


def boxes_outside(data: VG150Annotations) -> Tensor:
    """Rows of the boxes outside of their image, by its size in image_data.json."""
    owner = owners(data.box_ranges, len(data.raw_boxes))
    limits = (data.sizes.flip(1) * BOX_SCALE / data.sizes.max(1, keepdim=True).values)[owner]
    low = data.raw_boxes[:, :2].clamp(min=0)
    high = data.raw_boxes[:, 2:].minimum(limits)
    return ((owner >= 0) & ~(high > low).all(1)).nonzero()[:, 0]


def _check_extents(path: Path, stored: Tensor) -> None:
    bad = (stored[:, 2:] < 1).any(1).nonzero()
    if len(bad):
        row = int(bad[0])
        expected = "xc, yc, w, h with w and h >= 1"
        raise bad_input(f"{path} 'boxes_1024' row {row}", expected, stored[row].tolist())
