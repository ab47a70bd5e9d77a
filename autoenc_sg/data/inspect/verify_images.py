"""Checks of images: present, readable, and of the annotated size."""

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
from autoenc_sg.data.inspect.findings import Finding, Severity, findings_of
from autoenc_sg.visualization.progress import Reporter

STAGE = "look at images"
_AT_ONCE = 64


class ExpectedImage(NamedTuple):
    """An annotated image: its id, the split it is in, and (height, width) as annotated."""

    image_id: int
    split: str
    size: ImageSize


class _ImageContent(NamedTuple):
    """Size and digest of the pixels (if decoded) of a file, or the error of reading it."""

    size: ImageSize | None
    digest: bytes
    error: str


def image_findings(
    annotated: Sequence[ExpectedImage],
    store: ImageStore,
    decode: bool = True,
    reporter: Reporter | None = None,
    other_shapes: Severity = "warning",
) -> list[Finding]:
    """What is wrong with the images.

    Args:
        annotated: the annotated images; ids differ.
        store: where they are.
        decode: decode all pixels, else read only headers: faster, but truncated files and
            duplicates are not found.
        reporter: gets the images done, as the stage `STAGE`.
        other_shapes: how bad an image of another aspect ratio than annotated is: the reader of
            VG150 takes it while its boxes fit, others refuse it.
    """
    ids = [w.image_id for w in annotated]
    if annotated and not any(i in store for i in ids):
        remedy = "put them into VG_100K/, or name their folder or zip: --images"
        return [*findings_of("error", "no images at all", [f"{len(ids)} annotated"], remedy)]
    absent = (i for i in ids if i not in store)
    remedy = "nothing: training and evaluation leave them out; or get the rest of the images"
    findings = [*findings_of("warning", "absent images", absent, remedy)]
    present = [w for w in annotated if w.image_id in store]
    splits_with_images = {w.split for w in present}
    splits_without_images = dict.fromkeys(
        w.split for w in annotated if w.split not in splits_with_images
    )
    remedy = "get its images: without them the split is empty"
    findings += findings_of("error", "split without images", splits_without_images, remedy)
    reporter = reporter or Reporter([(STAGE, 1.0)])
    with reporter.stage(STAGE, len(present)):
        contents = dict(zip(present, _read_contents(present, store, decode, reporter)))
    findings += _broken(contents)
    findings += _sizes(contents, store, other_shapes)
    findings += _twice(contents, store)
    return findings


def _read_contents(
    annotated: Iterable[ExpectedImage], store: ImageStore, decode: bool, reporter: Reporter
) -> Iterator[_ImageContent]:
    """By threads: decoders release the interpreter."""

    def look(one: ExpectedImage) -> _ImageContent:
        try:
            if not decode:
                return _ImageContent(store.size(one.image_id), b"", "")
            image, size = store.decode(one.image_id)
            pixels = image.contiguous().numpy()
            return _ImageContent(size, hashlib.blake2b(pixels.data, digest_size=12).digest(), "")
        except InputError as error:
            return _ImageContent(None, b"", str(error))

    images = iter(annotated)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(images, _AT_ONCE)):
            for content in pool.map(look, chunk):
                reporter.advance()
                yield content


def _broken(contents: Mapping[ExpectedImage, _ImageContent]) -> Iterator[Finding]:
    errors = (content.error for content in contents.values() if content.error)
    remedy = "get the files again, or remove them: absent images are left out"
    yield from findings_of("error", "unreadable images", errors, remedy)


def _sizes(
    contents: Mapping[ExpectedImage, _ImageContent], store: ImageStore, other_shapes: Severity
) -> Iterator[Finding]:
    turned: list[str] = []
    reshaped: list[str] = []
    for one, content in contents.items():
        if content.size is None or same_aspect(content.size, one.size):
            continue
        (height, width), (stated_height, stated_width) = content.size, one.size
        sizes = f"{width} x {height}, annotated {stated_width} x {stated_height}"
        text = f"{store.name(one.image_id)}: {sizes}"
        (turned if same_aspect(content.size, one.size[::-1]) else reshaped).append(text)
    remedy = "turn the files as they were annotated (EXIF turns are not made), or remove them"
    yield from findings_of("error", "turned images", turned, remedy)
    remedy = "get the annotated images; where only the annotated size is wrong, correct it there"
    yield from findings_of(other_shapes, "images of another shape", reshaped, remedy)


def _twice(contents: Mapping[ExpectedImage, _ImageContent], store: ImageStore) -> Iterator[Finding]:
    groups: dict[bytes, list[ExpectedImage]] = defaultdict(list)
    for one, content in contents.items():
        if content.digest:
            groups[content.digest].append(one)
    apart: list[str] = []
    together: list[str] = []
    for group in groups.values():
        if len(group) > 1:
            text = " = ".join(store.name(one.image_id) for one in group)
            (apart if len({one.split for one in group}) > 1 else together).append(text)
    remedy = "remove one of each: what is trained on must not be tested on"
    yield from findings_of("warning", "pictures in several splits", apart, remedy)
    yield from findings_of("note", "pictures twice", together, "nothing, if few: they weigh double")
