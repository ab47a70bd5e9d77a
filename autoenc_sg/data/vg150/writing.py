"""Writing the VG150 files; `files` describes their layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.boxes import ImageSize
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.json_files import write_json
from autoenc_sg.data.vg150.files import BOX_SCALE, PSEUDO, SCORES
from autoenc_sg.data.vg150.ignored import ignored_table

Array = NDArray[Any]

H5_NAME, DICTS_NAME, SIZES_NAME = "VG-SGG.h5", "VG-SGG-dicts.json", "image_data.json"
LONG_SIDES = (512, 1024)


def encode_boxes(boxes: Tensor, image_size: ImageSize, long_side: int) -> Tensor:
    """Pixel xyxy `[B, 4]` to stored int32 (xc, yc, w, h) that decode to the nearest whole corners.

    Readers take `x1 = trunc(xc - w / 2), x2 = x1 + w`. So `x1 = round(s x1), w = round(s x2) - x1`,
    at least 1, within the scaled image, and `xc = x1 + ceil(w / 2)`: a corner comes back at most
    half a unit (of `max(image_size) / long_side` pixels) from where it was. vg_to_roidb.py writes
    `floor(s x1)`, `ceil(s (x2 - x1))` and `x1 + floor(w / 2)`, up to three units away.
    """
    scale = long_side / max(image_size)
    height, width = image_size
    limit = torch.tensor([max(1, round(scale * width)), max(1, round(scale * height))])
    low = (boxes[:, :2] * scale).round().clamp(min=0).minimum(limit - 1)
    high = (boxes[:, 2:] * scale).round().minimum(limit).maximum(low + 1)
    extent = high - low
    return torch.cat([low + (extent / 2).ceil(), extent], 1).to(torch.int32)


def encode_pixel_boxes(boxes: Array, sizes: Array, long_side: int) -> Array:
    """Visual Genome's own boxes to stored int32 (xc, yc, w, h), exactly as vg_to_roidb.py does.

    `x = floor(s (x - 1)), w = ceil(s w), xc = x + floor(w / 2)` with `s = long_side / max(size)`,
    within the square of `long_side` (not within the image, whose short side is less).

    Args:
        boxes: `[B, 4]` x, y, w, h; x and y count from 1.
        sizes: `[B, 2]` height and width of each box's image.
        long_side: what the image's long side is scaled to.
    """
    scale = (long_side / sizes.max(1).astype(np.float64))[:, None]
    low = np.floor(scale * (boxes[:, :2] - 1)).clip(0, long_side - 2)
    extent = np.minimum(np.ceil(scale * boxes[:, 2:]).clip(min=1), long_side - low)
    return np.concatenate([low + np.floor(extent / 2), extent], 1).astype(np.int32)


def write_annotations(
    root: Path,
    graphs: Sequence[SceneGraph],
    image_ids: Sequence[int],
    split: Sequence[int],
    vocabulary: Vocabulary,
) -> None:
    """Write the three annotation files of N images into the existing folder `root`.

    Relations with a score (`triple_scores`, not NaN) are marked as pseudo-relations.
    """
    counts = torch.tensor([len(g) for g in graphs])
    rel_counts = torch.tensor([len(g.triples) for g in graphs])
    first_box = counts.cumsum(0) - counts
    triples = torch.cat(
        [g.triples + s * torch.tensor([1, 0, 1]) for g, s in zip(graphs, first_box)]
    )
    labels = torch.cat([g.labels for g in graphs])
    tables = {
        "labels": labels[:, None].numpy(),
        "predicates": triples[:, 1:2].numpy(),
        "relationships": triples[:, [0, 2]].int().numpy(),
        "split": np.array(split, dtype=np.int32),
        **inclusive_ranges("box", counts.numpy()),
        **inclusive_ranges("rel", rel_counts.numpy()),
    }
    tables |= pseudo_tables(graphs)
    tables |= ignored_table(graphs, lambda boxes, size: encode_boxes(boxes, size, BOX_SCALE))
    for side in LONG_SIDES:
        stored = [encode_boxes(g.boxes, g.image_size, side) for g in graphs]
        tables[f"boxes_{side}"] = torch.cat(stored).numpy()
    dicts = vocabulary_dicts(
        vocabulary,
        *(
            [counted[i] for i in range(1, size)]
            for counted, size in (
                (Counter(labels.tolist()), vocabulary.num_objects),
                (Counter(triples[:, 1].tolist()), vocabulary.num_predicates),
            )
        ),
    )
    sizes = np.array([[i, *g.image_size] for i, g in zip(image_ids, graphs)], dtype=np.int64)
    write_tables(root, tables, dicts, sizes)


def pseudo_tables(graphs: Sequence[SceneGraph]) -> dict[str, Array]:
    """The two data sets that mark pseudo-relations; none if no relation has a score."""
    scores = torch.cat(
        [
            torch.full((len(g.triples),), torch.nan) if g.triple_scores is None else g.triple_scores
            for g in graphs
        ]
    ).float()
    is_pseudo = ~scores.isnan()
    if not is_pseudo.any():
        return {}
    return {PSEUDO: is_pseudo.to(torch.uint8).numpy(), SCORES: scores.nan_to_num(1.0).numpy()}


def write_tables(
    root: Path, tables: Mapping[str, Array], dicts: Mapping[str, Any], sizes: Array | None
) -> None:
    """Write the annotation files; the same input gives the same bytes.

    Args:
        root: the folder; made if it is missing.
        tables: the data sets of the h5.
        dicts: see `vocabulary_dicts`.
        sizes: `[N, 3]` id, height and width of the images, or None: image_data.json is there.
    """
    with replacing(root / H5_NAME) as temporary, h5py.File(temporary, "w") as file:
        for name in sorted(tables):
            file.create_dataset(name, data=tables[name], track_times=False)
    write_json(root / DICTS_NAME, dicts)
    if sizes is not None:
        entries = [{"image_id": i, "width": w, "height": h} for i, h, w in sizes.tolist()]
        write_json(root / SIZES_NAME, entries)


def inclusive_ranges(kind: str, counts: Array) -> dict[str, Array]:
    """`img_to_first_<kind>` and `img_to_last_<kind>` of N images with so many rows each."""
    last = counts.cumsum() - 1
    first = np.where(counts == 0, -1, last - counts + 1)
    return {
        f"img_to_first_{kind}": first.astype(np.int32),
        f"img_to_last_{kind}": np.where(counts == 0, -1, last).astype(np.int32),
    }


def vocabulary_dicts(
    vocabulary: Vocabulary, object_counts: Sequence[int], predicate_counts: Sequence[int]
) -> dict[str, Any]:
    """The content of `VG-SGG-dicts.json`; counts are of the names without the reserved one."""
    dicts: dict[str, Any] = {}
    for kind, count_key, names, counts in (
        ("label", "object_count", vocabulary.objects[1:], object_counts),
        ("predicate", "predicate_count", vocabulary.predicates[1:], predicate_counts),
    ):
        dicts[f"{kind}_to_idx"] = {name: i for i, name in enumerate(names, start=1)}
        dicts[f"idx_to_{kind}"] = {str(i): name for i, name in enumerate(names, start=1)}
        dicts[count_key] = dict(zip(names, counts))
    return dicts
