"""Writing the cache of a data set, shard by shard, so that an interrupted one goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from autoenc_sg.core.atomic_files import make_folder, remove_temporaries, replacing
from autoenc_sg.core.errors import InputError
from autoenc_sg.detector import Detector
from autoenc_sg.model.codes import image_digest
from autoenc_sg.model.modes import eval_mode
from autoenc_sg.model.region_cache.cache import COMPLETE, RegionCache, shard_path
from autoenc_sg.model.region_cache.entry import Entry, see_image
from autoenc_sg.model.region_cache.keys import KEY_FILE, CacheKey
from autoenc_sg.model.region_cache.shard import Shard, write_shard

PER_SHARD = 64  # images in a file

View = tuple[Tensor, Tensor]  # an image [3, H, W] and its true boxes [N_t, 4]


def write_region_cache(
    folder: Path,
    key: CacheKey,
    detector: Detector,
    views: Callable[[int], Iterator[View]],
    progress: Callable[[int], None] | None = None,
) -> RegionCache:
    """The cache of a folder; what is missing of it is computed first.

    Each image is seen alone, so that an entry does not depend on the others. Whole shards of an
    interrupted run stay; a cache counts as made once all are there.

    Args:
        folder: made if it is missing.
        key: of what the cache is made.
        detector: in evaluation mode meanwhile.
        views: gives the `key.images` views from a place on; only called if some are missing.
        progress: called with the number of images that are done now.

    Raises:
        InputError: the folder holds a cache of something else, a damaged one or other files, or
            cannot be written.
    """
    _claim(folder, key)
    if not (folder / COMPLETE).is_file():
        _write_shards(folder, key, detector, views, progress or (lambda count: None))
        with replacing(folder / COMPLETE):
            pass
    return RegionCache(folder, key, detector)


def _claim(folder: Path, key: CacheKey) -> None:
    make_folder(folder)
    if (folder / KEY_FILE).is_file():
        key.check(folder)
        return
    strangers = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    if strangers:
        raise InputError(f"{folder}: expected a folder of cached regions, got {strangers[0]} in it")
    key.write(folder)


def _write_shards(
    folder: Path,
    key: CacheKey,
    detector: Detector,
    views: Callable[[int], Iterator[View]],
    progress: Callable[[int], None],
) -> None:
    remove_temporaries(folder, shard_path(folder, 0).suffix)
    starts = range(0, key.images, PER_SHARD)
    first = next((s for s in starts if not _is_whole(folder, s, key)), key.images)
    progress(first)
    remaining = views(first)
    with eval_mode(detector):
        for start in starts[first // PER_SHARD :]:
            part = islice(remaining, PER_SHARD)
            entries = ((_digest(view), _seen(detector, view)) for view in part)
            write_shard(shard_path(folder, start // PER_SHARD), entries, key.precision)
            progress(min(start + PER_SHARD, key.images) - start)


def _is_whole(folder: Path, start: int, key: CacheKey) -> bool:
    try:
        records = Shard(shard_path(folder, start // PER_SHARD), key.precision).records
    except InputError:
        return False
    return len(records) == min(PER_SHARD, key.images - start)


def _digest(view: View) -> str:
    return image_digest(*view).hex()


def _seen(detector: Detector, view: View) -> Entry:
    device = next(detector.parameters()).device
    with torch.autocast(device.type, enabled=False):
        return see_image(detector, view[0].to(device), view[1].to(device))
