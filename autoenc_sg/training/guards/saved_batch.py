"""A training batch in a file, so that the step it stopped can be run again (.npz, no pickle)."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.data.base.samples import Batch

_GRAPH_TENSORS = ("labels", "boxes", "triples", "image_index")
_OPTIONAL_TENSORS = (
    "object_scores",
    "triple_scores",
    "masks",
    "appearance",
    "background",
    "ignored",
)


def save_batch(path: Path, batch: Batch) -> None:
    """Write a batch, images as they entered the step; names without vocabulary are not kept.

    Raises:
        InputError: the operating system refuses.
    """
    graphs = batch.graphs
    arrays = {f"image_{i}": image.cpu().numpy() for i, image in enumerate(batch.images)}
    arrays["image_ids"] = np.array(batch.image_ids)
    arrays["unannotated"] = np.array(sorted(batch.unannotated), np.int64)
    arrays["image_sizes"] = np.array(graphs.image_sizes)
    for name in (*_GRAPH_TENSORS, *_OPTIONAL_TENSORS):
        tensor = getattr(graphs, name)
        if tensor is not None:
            arrays[name] = tensor.cpu().numpy()
    with replacing(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]


def read_batch(path: Path) -> Batch:
    """The inverse of `save_batch`, tensors on the CPU; its graphs have no vocabulary.

    Raises:
        InputError: the file is not one of `save_batch`.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            tensors = {name: torch.from_numpy(file[name]) for name in file.files}
        images = tuple(tensors[f"image_{i}"] for i in range(len(tensors["image_ids"])))
        sizes = tuple((int(h), int(w)) for h, w in tensors["image_sizes"])
        labels, boxes, triples, image_index = (tensors[name] for name in _GRAPH_TENSORS)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise bad_input(path, "a batch that training saved", error) from error
    graphs = SceneGraphBatch(
        labels,
        boxes,
        triples,
        image_index,
        sizes,
        object_scores=tensors.get("object_scores"),
        triple_scores=tensors.get("triple_scores"),
        masks=tensors.get("masks"),
        appearance=tensors.get("appearance"),
        background=tensors.get("background"),
        ignored=tensors.get("ignored"),
    )
    unannotated = (
        frozenset(tensors["unannotated"].tolist()) if "unannotated" in tensors else frozenset()
    )
    return Batch(images, graphs, tuple(tensors["image_ids"].tolist()), unannotated)
