"""Graphs and regions for the tests, drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.generator.layout import Layout, factor_layout

C, P, D = 5, 4, 6  # classes and predicates with the reserved 0, width of the features


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_boxes(count: int, height: int, width: int, seed: int) -> Tensor:
    """`[count, 4]`, at least 2 pixels wide and high."""
    corners = torch.rand(count, 2, 2, generator=seeded(seed))
    size = torch.tensor([width, height])
    low, high = corners.amin(1) * (size - 2), corners.amax(1) * (size - 2)
    return torch.cat([low, high + 2], 1)


def random_graph(
    objects: int, triples: int, seed: int, size: tuple[int, int] = (40, 60), full: bool = False
) -> SceneGraph:
    """A graph of distinct subjects and objects; `full` has every optional field."""
    g = seeded(seed)
    ends = torch.randint(max(objects, 1), (triples, 2), generator=g)
    predicates = torch.randint(1, P, (triples,), generator=g)
    return SceneGraph(
        torch.randint(1, C, (objects,), generator=g),
        random_boxes(objects, *size, seed),
        torch.stack([ends[:, 0], predicates, ends[:, 1]], 1),
        size,
        torch.rand(objects, generator=g) if full else None,
        torch.rand(triples, generator=g) if full else None,
        torch.rand(objects, 3, 3, generator=g) if full else None,
        torch.rand(objects, 2, generator=g) if full else None,
        background=torch.rand(4, 2, generator=g) if full else None,
    )


def random_batch(counts: Sequence[tuple[int, int]], seed: int = 0) -> SceneGraphBatch:
    """A batch of graphs of (objects, triples)."""
    return SceneGraphBatch.collate(
        [random_graph(n, m, seed + i) for i, (n, m) in enumerate(counts)]
    )


def random_regions(counts: Sequence[int], seed: int = 0, grad: bool = False) -> Regions:
    """Regions without feature maps, `counts[b]` in image b, which is 40 + 8 b high and 60 wide."""
    g = seeded(seed)
    n = sum(counts)
    boxes = [random_boxes(k, 40 + 8 * b, 60, seed + b) for b, k in enumerate(counts)]
    sizes = tuple((40 + 8 * b, 60) for b in range(len(counts)))
    return Regions(
        torch.cat(boxes),
        torch.randn(n, C, generator=g).requires_grad_(grad),
        torch.randn(n, D, generator=g).requires_grad_(grad),
        torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)),
        sizes,
        (),
        sizes,
    )


def one_image(regions: Regions, image: int) -> Regions:
    """The regions of a single image."""
    rows = regions.image_index == image
    sizes = (regions.image_sizes[image],)
    return Regions(
        regions.boxes[rows],
        regions.class_logits[rows],
        regions.features[rows],
        regions.image_index[rows] * 0,
        sizes,
        tuple(m[image : image + 1] for m in regions.feature_maps),
        (regions.network_sizes[image],),
    )


def renumbered(regions: Regions, order: Tensor) -> Regions:
    """The same regions in another order, within their images."""
    return Regions(
        regions.boxes[order],
        regions.class_logits[order],
        regions.features[order],
        regions.image_index[order],
        regions.image_sizes,
        regions.feature_maps,
        regions.network_sizes,
    )


def random_pairs(regions: Regions, per_image: int, seed: int = 0) -> CandidatePairs:
    """Up to `per_image` pairs of different regions in each image, images in order."""
    g = seeded(seed)
    found = []
    for image in range(regions.num_images):
        rows = (regions.image_index == image).nonzero()[:, 0].tolist()
        pairs = [(i, j) for i in rows for j in rows if i != j]
        chosen = torch.randperm(len(pairs), generator=g)[:per_image].tolist()
        found += [pairs[k] for k in chosen]
    pairs_tensor = torch.tensor(found, dtype=torch.int64).reshape(-1, 2)
    return CandidatePairs(pairs_tensor, torch.rand(len(found), generator=g))


def some_layout(images: int, objects: int, dim: int, size: int) -> Layout:
    """Objects 0, 1, 2 … of each image in boxes and masks of their own."""
    rng = seeded(images * 100 + objects)
    count = images * objects
    corner = torch.rand(count, 2, generator=rng) * 0.6
    return factor_layout(
        torch.randn(count, dim, generator=rng),
        torch.cat([corner, corner + 0.3], 1),
        torch.rand(count, 4, 4, generator=rng),
        torch.arange(images).repeat_interleave(objects),
        images,
        size,
    )
