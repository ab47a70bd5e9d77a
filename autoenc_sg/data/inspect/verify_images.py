"""Whether a data set's images are there, readable, and those that were annotated."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.errors import InputError
from autoenc_sg.data.base.graphs import same_aspect
from autoenc_sg.data.images.store import ImageStore
from autoenc_sg.data.inspect.findings import Finding, found
from autoenc_sg.visualization.progress import Reporter

STAGE = "look at images"
_AT_ONCE = 64


class Wanted(NamedTuple):
    """An annotated image: its id, the split it is in, and (height, width) as annotated."""

    image_id: int
    split: str
    size: ImageSize


class _Seen(NamedTuple):
    """What a file holds: its size and a digest of its pixels (if decoded), or what is wrong."""

    size: ImageSize | None
    digest: bytes
    error: str


def image_findings(
    wanted: Sequence[Wanted],
    store: ImageStore,
    decode: bool = True,
    reporter: Reporter | None = None,
) -> list[Finding]:
    """What is wrong with the images.

    Args:
        wanted: the annotated images; ids differ.
        store: where they are.
        decode: decode all pixels, else only look at the headers: faster, but files that are cut
            off and pictures that come twice are not found.
        reporter: told of images done, as the stage `STAGE`.
    """
    ids = [w.image_id for w in wanted]
    if wanted and not any(i in store for i in ids):
        remedy = "put them into VG_100K/, or name their folder or zip: --images"
        return [*found("warning", "no images at all", [f"{len(ids)} annotated"], remedy)]
    absent = (i for i in ids if i not in store)
    remedy = "nothing: training and evaluation leave them out; or get the rest of the images"
    findings = [*found("warning", "absent images", absent, remedy)]
    there = [w for w in wanted if w.image_id in store]
    kept = {w.split for w in there}
    gone = dict.fromkeys(w.split for w in wanted if w.split not in kept)
    remedy = "get its images: nothing is left of it"
    findings += found("error", "split without images", gone, remedy)
    reporter = reporter or Reporter([(STAGE, 1.0)])
    with reporter.stage(STAGE, len(there)):
        seen = dict(zip(there, _looked_at(there, store, decode, reporter)))
    findings += _broken(seen)
    findings += _sizes(seen, store)
    findings += _twice(seen, store)
    return findings


def _looked_at(
    wanted: Iterable[Wanted], store: ImageStore, decode: bool, reporter: Reporter
) -> Iterator[_Seen]:
    """By threads: decoders release the interpreter."""

    def look(one: Wanted) -> _Seen:
        try:
            if not decode:
                return _Seen(store.size(one.image_id), b"", "")
            image, size = store.decode(one.image_id)
            pixels = image.contiguous().numpy()
            return _Seen(size, hashlib.blake2b(pixels.data, digest_size=12).digest(), "")
        except InputError as error:
            return _Seen(None, b"", str(error))

    images = iter(wanted)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while some := list(islice(images, _AT_ONCE)):
            for seen in pool.map(look, some):
                reporter.advance()
                yield seen


def _broken(seen: Mapping[Wanted, _Seen]) -> Iterator[Finding]:
    errors = (looked.error for looked in seen.values() if looked.error)
    remedy = "get the files again, or remove them: absent images are left out"
    yield from found("error", "unreadable images", errors, remedy)


def _sizes(seen: Mapping[Wanted, _Seen], store: ImageStore) -> Iterator[Finding]:
    turned: list[str] = []
    other: list[str] = []
    for one, looked in seen.items():
        if looked.size is None or same_aspect(looked.size, one.size):
            continue
        (height, width), (stated_height, stated_width) = looked.size, one.size
        sizes = f"{width} x {height}, annotated {stated_width} x {stated_height}"
        text = f"{store.name(one.image_id)}: {sizes}"
        (turned if same_aspect(looked.size, one.size[::-1]) else other).append(text)
    remedy = "turn the files as they were annotated (EXIF turns are not made), or remove them"
    yield from found("error", "turned images", turned, remedy)
    remedy = "get the annotated images; where only image_data.json is wrong, correct it there"
    yield from found("warning", "images of another shape", other, remedy)


def _twice(seen: Mapping[Wanted, _Seen], store: ImageStore) -> Iterator[Finding]:
    groups: dict[bytes, list[Wanted]] = defaultdict(list)
    for one, looked in seen.items():
        if looked.digest:
            groups[looked.digest].append(one)
    apart: list[str] = []
    together: list[str] = []
    for group in groups.values():
        if len(group) > 1:
            text = " = ".join(store.name(one.image_id) for one in group)
            (apart if len({one.split for one in group}) > 1 else together).append(text)
    remedy = "remove one of each: what is trained on must not be tested on"
    yield from found("warning", "pictures in several splits", apart, remedy)
    yield from found("note", "pictures twice", together, "nothing, if few: they weigh double")
