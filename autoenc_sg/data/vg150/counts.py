"""Image counts of a folder of VG150 files beside the published ones."""

from __future__ import annotations

import hashlib
from collections.abc import Container

import torch

from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.samples import Split
from autoenc_sg.data.vg150.dataset import split_rows
from autoenc_sg.data.vg150.files import TEST, TRAIN, VG150Annotations
from autoenc_sg.visualization.tables import Table

# 108,073 images, cut at 70 %, are what vg_to_roidb.py writes; the loaders of Neural Motifs, IMP and
# Scene-Graph-Benchmark assert that number. After filtering: the log in
# https://github.com/jwyang/graph-rcnn.pytorch/issues/21.
IMAGES, TRAIN_IMAGES, TEST_IMAGES = 108_073, 75_651, 32_422
KEPT: dict[Split, int] = {"train": 56_224, "val": 5_000, "test": 26_446}
# SHA-256 of the 150 object names, sorted, and the 50 predicates, sorted, one a line.
_VG150_NAMES = "d81140789f5f2b3fbde2045a848e1722ef80b896a7f1e892e20946fda9d3970e"


def has_vg150_names(vocabulary: Vocabulary) -> bool:
    """Whether the names are those of VG150, in any order, so that published figures apply."""
    names = [*sorted(vocabulary.objects[1:]), *sorted(vocabulary.predicates[1:])]
    return hashlib.sha256("\n".join(names).encode()).hexdigest() == _VG150_NAMES


def count_images(data: VG150Annotations, images: Container[int]) -> Table:
    """Images by split: annotated, with an image file, and as published (where it is VG150).

    Args:
        data: the annotations.
        images: ids of the images with a file.
    """
    has_file = torch.tensor([i in images for i in data.image_ids.tolist()], dtype=torch.bool)
    published = has_vg150_names(data.vocabulary)
    rows: list[list[str | int | None]] = []
    for name, in_part, published_count in (
        ("all", torch.ones_like(data.split, dtype=torch.bool), IMAGES),
        ("train split", data.split == TRAIN, TRAIN_IMAGES),
        ("test split", data.split == TEST, TEST_IMAGES),
    ):
        counts = [int(in_part.sum()), int((in_part & has_file).sum())]
        rows.append([name, *counts, published_count if published else None])
    names: dict[Split, str] = {"train": "train", "val": "validation", "test": "test"}
    for split, name in names.items():
        in_split, _ = split_rows(data, split, filter_overlap=True)
        counts = [len(in_split), int(has_file[in_split].sum())]
        rows.append([f"{name}, filtered", *counts, KEPT[split] if published else None])
    note = "filtered: with boxes and relations, in train between overlapping boxes; then cut in two"
    return Table("Images", ["split", "annotated", "with a file", "published"], rows, note)


def missing_images(data: VG150Annotations, images: Container[int]) -> list[int]:
    """Ids of annotated images that have no file, in order of the files."""
    return [i for i in data.image_ids.tolist() if i not in images]
