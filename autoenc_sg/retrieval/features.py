"""Vectors of patches, by frozen networks: of the image inside a box, and of an object in its graph.

`PatchFeatures` is what `build_bank` asks of an image network; `DetectorFeatures` and `TimmFeatures`
have it. Both see the whole photo once and pool their maps over each box.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torchvision.ops import roi_align

from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.images import as_float, resize_square
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.structures import Regions
from autoenc_sg.detector.timm_backbones import PREFIX, STRIDES, pixel_statistics, timm_network
from autoenc_sg.generator.image_node import add_image_nodes
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.modes import inference
from autoenc_sg.model.region_cache.keys import detector_digest, weights_digest
from autoenc_sg.retrieval.manifest import FeatureSource

_SAMPLES = 4  # a box is pooled as 4 x 4 samples, whose mean is its feature
_SIDE = 256  # pixels of a photo for timm's networks


class PatchFeatures(Protocol):
    """Frozen features of image regions; an image's do not depend on other images.

    Attributes:
        source: name, digest and width D of the features.
    """

    source: FeatureSource

    def __call__(self, image: Tensor, boxes: Tensor) -> Tensor:
        """Features `[n, D]`, float32, on the CPU.

        Args:
            image: `[3, H, W]`, uint8.
            boxes: `[n, 4]`, xyxy in its pixels.
        """


class DetectorFeatures:
    """The backbone's maps of a model's detector, pooled over each box and averaged.

    Args:
        model: it must not change while the features are used.
    """

    def __init__(self, model: AutoEncoder) -> None:
        self.model = model
        digest = detector_digest(model.detector, model.config.detector)
        self.source = FeatureSource("detector", digest, model.detector.map_channels)

    def __call__(self, image: Tensor, boxes: Tensor) -> Tensor:
        """See `PatchFeatures`."""
        detector, device = self.model.detector, self.model.device
        with inference(self.model):
            maps = detector.encode([image.to(device)])
            boxes = boxes.to(device)
            regions = Regions(
                boxes,
                boxes.new_zeros(len(boxes), detector.num_classes),
                boxes.new_zeros(len(boxes), 0),
                torch.zeros(len(boxes), dtype=torch.int64, device=device),
                maps.image_sizes,
                maps.maps,
                maps.network_sizes,
            )
            pooled = detector.region_maps(regions)
        return pooled.float().mean((2, 3)).cpu()


class TimmFeatures:
    """The maps of strides 8, 16 and 32 of timm's network, pooled over each box, side by side.

    A photo is resized to 256 x 256 pixels first.

    Args:
        name: in timm, without `timm/`.
        file: of ImageNet weights; None: those of an installed package, or downloaded.
        device: of the network.

    Raises:
        InputError: as `timm_network`.
    """

    def __init__(
        self, name: str, file: str | None = None, device: torch.device | str = "cpu"
    ) -> None:
        self.network = timm_network(name, file).to(device).eval()
        self.device = torch.device(device)
        self.mean, self.std = (
            torch.tensor(values, device=device)[:, None, None] for values in pixel_statistics(name)
        )
        width = sum(self.network.feature_info.channels())
        digest = weights_digest(self.network.state_dict(), f"{name} {_SIDE}")
        self.source = FeatureSource(PREFIX + name, digest, width)

    @torch.no_grad()
    def __call__(self, image: Tensor, boxes: Tensor) -> Tensor:
        """See `PatchFeatures`."""
        height, width = image.shape[1:]
        photo = resize_square(as_float(image.to(self.device)), _SIDE)
        maps = self.network(((photo - self.mean) / self.std)[None])
        scale = boxes.new_tensor([width, height, width, height])
        scaled = (boxes / scale * _SIDE).to(self.device)
        pooled = [
            roi_align(level, [scaled], _SAMPLES, 1 / stride, 2, aligned=True).mean((2, 3))
            for level, stride in zip(maps, STRIDES)
        ]
        return torch.cat(pooled, 1).cpu()


class GraphVectors:
    """The vectors of a graph's objects after a generator's graph convolutions.

    Args:
        model: its trained generator is used; it must not change meanwhile.
    """

    def __init__(self, model: AutoEncoder) -> None:
        self.model = model
        layers = ("obj_embeddings.", "pred_embeddings.", "gconv.", "gconv_net.")
        weights = model.generator.state_dict()
        digest = weights_digest({n: w for n, w in weights.items() if n.startswith(layers)})
        self.source = FeatureSource("generator", digest, model.config.generator.gconv_dim)

    def __call__(self, graph: SceneGraph) -> tuple[Tensor, Tensor]:
        """Vectors of the N objects `[N, G]` and of the `__image__` node `[1, G]`, on the CPU."""
        with inference(self.model):
            full = add_image_nodes(self.model.relax(SceneGraphBatch.collate([graph])))
            vectors = self.model.generator.object_vectors(full.graph).float().cpu()
        return vectors[full.object_rows.cpu()], vectors[full.image_rows.cpu()]


def check_source(expected: FeatureSource, got: FeatureSource | None, what: str) -> None:
    """Check that vectors can be compared with those of a bank.

    Args:
        expected: of the query.
        got: of the bank; None: it has none.
        what: the bank, for the message.

    Raises:
        InputError: the bank has none, of another width, or of other weights.
    """
    if got is None:
        raise bad_input(what, f"vectors of the {expected.name}", "a bank without (--graph)")
    if got.width != expected.width:
        raise bad_input(what, f"vectors of {expected.width} numbers", f"{got.width}")
    if got != expected:
        wanted = f"vectors of this {expected.name} ({expected.digest[:8]})"
        raise bad_input(what, wanted, f"those of another {got.name} ({got.digest[:8]})")
