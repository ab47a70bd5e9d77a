"""Small banks of plain coloured images, whose features are the mean colours of their boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.from_pairs import PairsDataset
from autoenc_sg.retrieval.bank import PatchBank
from autoenc_sg.retrieval.build import PatchSource, build_bank
from autoenc_sg.retrieval.manifest import FeatureSource, Manifest, ShardEntry
from autoenc_sg.retrieval.options import BankOptions
from autoenc_sg.retrieval.shard import Patches, Shard, shard_path, write_shard

VOCABULARY = Vocabulary.from_names(["cat", "dog", "cart", "horse"], ["on"])
COLOURS = FeatureSource("mean colour", "0123", 3)


class MeanColour:
    """Mean colours of boxes in [0, 1]; counts its images, and fails at the `fail_at`-th."""

    def __init__(self, fail_at: int | None = None, source: FeatureSource = COLOURS) -> None:
        self.source = source
        self.images = 0
        self.fail_at = fail_at

    def __call__(self, image: Tensor, boxes: Tensor) -> Tensor:
        if self.images == self.fail_at:
            raise KeyboardInterrupt
        self.images += 1
        cut = [image[:, int(y1) : int(y2), int(x1) : int(x2)] for x1, y1, x2, y2 in boxes.tolist()]
        means = [c.float().mean((1, 2)) / 255 for c in cut]
        return torch.stack(means) if means else torch.zeros(0, 3)


def one_object(label: int, red: int) -> tuple[Tensor, SceneGraph]:
    """An image 8 x 4, black, with an object of this red in its right half."""
    image = torch.zeros(3, 4, 8, dtype=torch.uint8)
    image[0, :, 4:] = red
    boxes = torch.tensor([[4.0, 0.0, 8.0, 4.0]])
    graph = SceneGraph(torch.tensor([label]), boxes, torch.zeros(0, 3).long(), (4, 8))
    return image, graph


def dataset(objects: Sequence[tuple[int, int]]) -> PairsDataset:
    """Images 0, 1, … of one object each, by (class, red)."""
    return PairsDataset([one_object(*each) for each in objects], VOCABULARY)


def source(
    objects: Sequence[tuple[int, int]], features: MeanColour | None = None, canvas: int = 0
) -> PatchSource:
    return PatchSource(dataset(objects), features or MeanColour(), None, BankOptions(2, canvas))


def build(folder: Path, objects: Sequence[tuple[int, int]], canvas: int = 0) -> PatchBank:
    return build_bank(folder, source(objects, canvas=canvas))


def vector_bank(
    folder: Path, labels: Sequence[int], image_ids: Sequence[int], vectors: Tensor
) -> PatchBank:
    """A bank of one file with these vectors, and pixels of zeros."""
    count, width = vectors.shape
    patches = Patches(
        np.array(labels, np.int64),
        np.array(image_ids, np.int64),
        np.tile(np.array([0, 0, 1, 1], np.float32), (count, 1)),
        np.ones((count, 2), np.int32),
        vectors.numpy().astype(np.float16),
        np.zeros((count, 0), np.float16),
        np.zeros((count, 3, 1, 1), np.uint8),
        np.zeros((0, 3, 0, 0), np.uint8),
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_shard(shard_path(folder, 0), patches)
    entry = ShardEntry(count, Shard(shard_path(folder, 0)).file.checksum)
    features = FeatureSource("test", "0", width)
    manifest = Manifest(VOCABULARY, features, None, 1, 0, "", 1, 64, (entry,))
    manifest.write(folder)
    return PatchBank(folder)
