"""The regions of a data set as a frozen detector saw them: a folder of memory-mapped files.

An entry holds an image's backbone maps, detections, and the class logits and box head's features of
detections and true boxes. It is found by the image's pixels and true boxes, so a mirrored image has
an entry of its own, and other images are noticed.

Union features are not stored but pooled from the maps when they are asked for: the layers behind
the pooling are trained with the graph, and the chosen pairs change. Sizes in float16:

    at the demo's size (maps 96 x 16 x 16, 20 detections): 58 KiB an image, 48 of them maps; the
        pooled unions of its 380 pairs, 96 x 5 x 5 each, would be 1.7 MiB
    at the paper's (512 x 38 x 64, 64 detections): 3.0 MiB, 2.4 of them maps; its 4,032 pairs,
        512 x 5 x 5 each, would be 98 MiB

Each image was seen alone: in a batch of images of several sizes a detector pads the smaller ones,
which changes its maps near their borders, so there losses differ slightly from those without cache.
Maps of several sizes are padded by repeating their borders, which pooling does not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.detector import Detections, Detector, FeatureMaps
from autoenc_sg.model.codes import image_digest
from autoenc_sg.model.region_cache.entry import Entry
from autoenc_sg.model.region_cache.keys import CacheKey
from autoenc_sg.model.region_cache.shard import Shard
from autoenc_sg.model.region_reader import SeenRegions

COMPLETE = "complete"  # an empty file, written last


def shard_path(folder: Path, number: int) -> Path:
    """The file of a shard."""
    return folder / f"{number:05}.regions"


class RegionCache:
    """A whole cache, opened; a `region_reader.RegionReader`.

    Args:
        folder: of the cache.
        key: what it must have been made of.
        detector: its layers for graphs go on from what is stored.

    Raises:
        InputError: it was made of something else, is not whole, or is damaged.
    """

    def __init__(self, folder: Path, key: CacheKey, detector: Detector) -> None:
        key.check(folder)
        if not (folder / COMPLETE).is_file():
            raise bad_input(f"regions cached in {folder}", "a whole cache", "an unfinished one")
        self.folder, self.key, self.detector = folder, key, detector
        paths = sorted(folder.glob(shard_path(folder, 0).name.replace("00000", "*")))
        self.shards = [Shard(path, key.precision) for path in paths]
        self._rows = {
            record["digest"]: (number, row)
            for number, shard in enumerate(self.shards)
            for row, record in enumerate(shard.records)
        }
        count = sum(len(shard.records) for shard in self.shards)
        if count != key.images:
            raise bad_input(f"regions cached in {folder}", f"{key.images} entries", count)

    def __len__(self) -> int:
        return self.key.images

    def read(self, images: Sequence[Tensor], truth: SceneGraphBatch) -> SeenRegions:
        """See `RegionReader.read`.

        Raises:
            InputError: an image is not among those the cache was made of, or its entry is damaged.
        """
        return RegionCaches([self]).read(images, truth)

    def find(self, digest: str) -> Entry | None:
        """The entry of an image and its boxes (`codes.image_digest`, hex), None without one."""
        place = self._rows.get(digest)
        return None if place is None else self.shards[place[0]].read(place[1])


class RegionCaches:
    """Caches of several data sets, one detector's, as a `region_reader.RegionReader`.

    Args:
        caches: one or more; the first that has an image gives it.
    """

    def __init__(self, caches: Sequence[RegionCache]) -> None:
        self.caches = caches

    def read(self, images: Sequence[Tensor], truth: SceneGraphBatch) -> SeenRegions:
        """As `RegionCache.read`."""
        counts = torch.bincount(truth.image_index, minlength=len(truth)).tolist()
        true_boxes = truth.boxes.split(counts)
        entries = [self._entry(image, boxes) for image, boxes in zip(images, true_boxes)]
        detector = self.caches[0].detector
        return _joined(detector, entries, next(detector.parameters()).device)

    def _entry(self, image: Tensor, boxes: Tensor) -> Entry:
        digest = image_digest(image, boxes).hex()
        entries = (cache.find(digest) for cache in self.caches)
        entry = next((entry for entry in entries if entry is not None), None)
        if entry is None:
            folders = ", ".join(str(cache.folder) for cache in self.caches)
            raise InputError(
                f"regions cached in {folders}: expected an image with the pixels and boxes it "
                f"was made of, got another of {image.shape[2]} x {image.shape[1]} pixels"
            )
        return entry


def _joined(detector: Detector, entries: Sequence[Entry], device: torch.device) -> SeenRegions:
    """The view of a batch, of those of its images."""
    detected = [len(entry.labels) for entry in entries]
    true = [len(entry.boxes) - count for entry, count in zip(entries, detected)]
    boxes, true_boxes = _in_parts([entry.boxes for entry in entries], detected, device)
    detections = Detections(
        boxes,
        torch.cat([entry.labels for entry in entries]).to(device),
        torch.cat([entry.scores for entry in entries]).to(device),
        _index(detected, device),
    )
    known = [
        torch.cat(_in_parts(values, detected, device))
        for values in ([e.features for e in entries], [e.class_logits for e in entries])
    ]
    maps = _joined_maps(entries, device)
    index = _index(true, device)
    return SeenRegions(detector, maps, detections, true_boxes, index, (known[0], known[1]))


def _in_parts(
    values: Sequence[Tensor], counts: Sequence[int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """The first rows of each image, its detections', of all images; then the other rows."""
    first = [value[:count] for value, count in zip(values, counts)]
    rest = [value[count:] for value, count in zip(values, counts)]
    return torch.cat(first).to(device), torch.cat(rest).to(device)


def _index(counts: Sequence[int], device: torch.device) -> Tensor:
    images = torch.arange(len(counts), device=device)
    return torch.repeat_interleave(images, torch.tensor(counts, device=device))


def _joined_maps(entries: Sequence[Entry], device: torch.device) -> FeatureMaps:
    heights, widths = zip(*(entry.padded_size for entry in entries))
    levels = []
    for level in zip(*(entry.maps for entry in entries)):
        height, width = max(m.shape[1] for m in level), max(m.shape[2] for m in level)
        levels.append(torch.stack([_padded(values, height, width) for values in level]).to(device))
    return FeatureMaps(
        tuple(levels),
        tuple(entry.image_size for entry in entries),
        tuple(entry.network_size for entry in entries),
        (max(heights), max(widths)),
        torch.stack([entry.colors for entry in entries]).to(device),
    )


def _padded(values: Tensor, height: int, width: int) -> Tensor:
    """A map `[D, H, W]` with its last row and column repeated."""
    missing = (0, width - values.shape[2], 0, height - values.shape[1])
    return F.pad(values[None], missing, mode="replicate")[0] if any(missing) else values
