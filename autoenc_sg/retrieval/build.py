"""Building a bank: shard by shard, each written atomically, so that a killed run goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autoenc_sg.core.atomic_files import folder_lock, remove_temporaries
from autoenc_sg.core.boxes import clip_to_image, has_area, to_unit_boxes
from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.base.augment import is_mirroring
from autoenc_sg.data.base.samples import GraphDataset, Sample
from autoenc_sg.retrieval.bank import PatchBank
from autoenc_sg.retrieval.crops import resized, resized_crops
from autoenc_sg.retrieval.features import GraphVectors, PatchFeatures
from autoenc_sg.retrieval.manifest import MANIFEST, Manifest, ShardEntry, read_manifest
from autoenc_sg.retrieval.options import BankOptions
from autoenc_sg.retrieval.shard import Patches, Shard, shard_path, write_shard

IMAGES_PER_SHARD = 64


@dataclass(frozen=True, eq=False)
class PatchSource:
    """Where the patches of a bank come from.

    Attributes:
        dataset: images and graphs, not mirrored; epoch 0 of it is read.
        features: of the images.
        graph: of the graphs; None: the bank has no such vectors.
        options: sizes.
    """

    dataset: GraphDataset
    features: PatchFeatures
    graph: GraphVectors | None = None
    options: BankOptions = BankOptions()  # noqa: RUF009 (frozen)

    def manifest(self) -> Manifest:
        """What a bank of it is made of, unfinished."""
        return Manifest(
            self.dataset.vocabulary,
            self.features.source,
            None if self.graph is None else self.graph.source,
            self.options.crop_size,
            self.options.canvas_size,
            _data_digest(self.dataset),
            len(self.dataset),
            IMAGES_PER_SHARD,
        )


def build_bank(
    folder: Path, source: PatchSource, progress: Callable[[int], None] | None = None
) -> PatchBank:
    """The bank of a folder; what is missing of it, or damaged, is made first.

    Args:
        folder: made if it is missing.
        source: of the patches.
        progress: called with the number of images that are done now.

    Raises:
        InputError: the folder holds a bank of something else or other files, another process builds
            there, it cannot be written, the data set mirrors images, or one cannot be read.
    """
    if is_mirroring(source.dataset):
        raise bad_input("patch bank", "a data set that mirrors no image", "one with data.flip")
    progress = progress or (lambda count: None)
    manifest = source.manifest()
    with folder_lock(folder, "no other process that builds a bank there"):
        finished = _claim(folder, manifest)
        remove_temporaries(folder, shard_path(folder, 0).suffix)
        remove_temporaries(folder, Path(MANIFEST).suffix)
        entries = []
        for number in range(manifest.num_shards):
            start = number * manifest.images_per_shard
            rows = range(start, min(start + manifest.images_per_shard, manifest.images))
            path = shard_path(folder, number)
            entry = _whole(path, finished, number)
            if entry is None:
                write_shard(path, _joined([_patches(source, row) for row in rows]))
                entry = _entry(Shard(path))
            entries.append(entry)
            progress(len(rows))
        if finished is None or finished.shards != tuple(entries):
            replace(manifest, shards=tuple(entries)).write(folder)
    return PatchBank(folder)


def _claim(folder: Path, manifest: Manifest) -> Manifest | None:
    """The manifest in the folder if the bank was finished once; it is written if there is none."""
    if (folder / MANIFEST).is_file():
        other = read_manifest(folder)
        manifest.check_same(other, folder)
        return None if other.shards is None else other
    strangers = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if strangers:
        raise InputError(f"{folder}: expected a folder of a patch bank, got {strangers[0]} in it")
    manifest.write(folder)
    return None


def _whole(path: Path, finished: Manifest | None, number: int) -> ShardEntry | None:
    """The entry of a shard that need not be made again."""
    try:
        shard = Shard(path)
        shard.check()
    except InputError:
        return None
    entry = _entry(shard)
    expected = entry if finished is None or finished.shards is None else finished.shards[number]
    return entry if entry == expected else None


def _entry(shard: Shard) -> ShardEntry:
    return ShardEntry(len(shard), shard.file.checksum)


def _data_digest(dataset: GraphDataset) -> str:
    """BLAKE2b (32 hex digits) of ids, sizes, classes, boxes and triples of all images."""
    digest = hashlib.blake2b(digest_size=16)
    for index, image_id in enumerate(dataset.image_ids):
        graph = dataset.graph(index)
        digest.update(f"{image_id} {graph.image_size} {len(graph)} {len(graph.triples)}".encode())
        for values in (graph.labels, graph.boxes.float(), graph.triples):
            digest.update(values.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _patches(source: PatchSource, row: int) -> Patches:
    """The patches of one image: its objects, and the whole photo, if wanted."""
    sample = source.dataset.sample(row)
    graph = _inside(sample)
    image, (height, width) = sample.image, graph.image_size
    count, canvases = len(graph), int(source.options.canvas_size > 0)
    whole = torch.tensor([[0.0, 0.0, width, height]])[:canvases]
    boxes = torch.cat([graph.boxes.float(), whole])
    index = torch.zeros(count + canvases, dtype=torch.int64)
    return Patches(
        torch.cat([graph.labels, torch.zeros(canvases, dtype=torch.int64)]).numpy(),
        np.full(count + canvases, sample.image_id, np.int64),
        to_unit_boxes(boxes, [graph.image_size], index).numpy(),
        np.full((count + canvases, 2), (height, width), np.int32),
        _half(source.features(image, boxes).numpy()),
        _half(_graph_vectors(source.graph, graph, canvases)),
        resized_crops(image, graph.boxes, source.options.crop_size),
        _canvas(sample, source.options.canvas_size),
    )


def _inside(sample: Sample) -> SceneGraph:
    """The graph with its boxes clipped to the image, without objects that have no area there."""
    graph = sample.graph.to("cpu")
    boxes = clip_to_image(graph.boxes.float(), graph.image_size)
    rows = has_area(boxes).nonzero()[:, 0]
    return replace(graph, boxes=boxes).select(rows)


def _graph_vectors(
    vectors: GraphVectors | None, graph: SceneGraph, canvases: int
) -> NDArray[np.float32]:
    if vectors is None:
        return np.zeros((len(graph) + canvases, 0), np.float32)
    objects, image = vectors(graph)
    return np.asarray(torch.cat([objects, image[:canvases]]).numpy(), np.float32)


def _canvas(sample: Sample, size: int) -> NDArray[np.uint8]:
    if size == 0:
        return np.zeros((0, 3, 0, 0), np.uint8)
    return resized(sample.image, size)[None]


def _half(
    values: NDArray[np.float32],
) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):  # what float16 cannot hold is refused by write_shard
        return values.astype(np.float16)


def _joined(parts: Sequence[Patches]) -> Patches:
    """The patches of several images, objects before whole photos."""
    is_canvas = np.concatenate([np.arange(len(p)) >= len(p.crops) for p in parts])
    order = np.argsort(is_canvas, kind="stable")

    def column(name: str) -> NDArray[Any]:
        joined = np.concatenate([getattr(part, name) for part in parts])
        return joined if name in ("crops", "canvases") else joined[order]

    return Patches(**{name: column(name) for name in Patches.__dataclass_fields__})
