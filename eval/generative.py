"""Quality and diversity of sets of generated images: FID, IS, LPIPS diversity.

    FID = |m_r - m_g|^2 + tr(S_r + S_g - 2 (S_r S_g)^{1/2})     means and covariances of features
    IS  = exp(mean_x KL(p(y | x) || p(y)))                       mean over 10 random parts, seeded
    LPIPS diversity = mean LPIPS of two images of one graph that differ in the noise

(Heusel et al. 2017, Salimans et al. 2016, Zhang et al. 2018; computed by torchmetrics.) Numbers of
different networks are not comparable, so results carry the network's name. The caller provides the
weights; none are downloaded.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torchmetrics
import torchvision.models
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.image.fid import FrechetInceptionDistance, NoTrainInceptionV3
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
from torchmetrics.utilities.data import dim_zero_cat

from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.eval.base.compute_groups import prevent_compute_groups
from autoenc_sg.eval.images import check_images

_SIDE = 299
_FIRST = "features.0.weight"
LpipsNetwork = Literal["alex", "vgg", "squeeze"]


class Features(NamedTuple):
    """Inception's output for B images: pooled features `[B, 2048]` and logits `[B, K]`."""

    pooled: Tensor
    logits: Tensor


class InceptionNetwork(nn.Module):
    """Inception v3, one of two networks, by the weights.

    - TensorFlow's of 2015 (`pt_inception-2015-12-05`, 1008 logits without bias), the usual one for
      FID and IS; needs the package torch-fidelity.
    - torchvision's (`inception_v3`, 1000 classes), whose FID and IS are not comparable with those.

    Args:
        weights: the state dict of one of them.
        where: what messages and `name` call the weights.

    Attributes:
        name: the network, for tables.

    Raises:
        InputError: the weights are of another network, or torch-fidelity is not installed.
    """

    def __init__(self, weights: Mapping[str, Tensor], where: str) -> None:
        super().__init__()
        classes = next(iter(weights["fc.weight"].shape), 0) if "fc.weight" in weights else 0
        if classes not in (1000, 1008) or "Mixed_7c.branch1x1.conv.weight" not in weights:
            raise bad_input(where, "weights of an Inception v3 (1000 or 1008 classes)", "others")
        self.original = classes == 1008
        kind = "Inception v3 of 2015" if self.original else "torchvision's Inception v3"
        self.name = f"{kind}, {where}"
        self.network = _original(weights, where) if self.original else _torchvision(weights, where)
        self.head = weights["fc.weight"].float()
        self.bias = None if self.original else weights["fc.bias"].float()
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Features:
        """Images `[B, 3, H, W]` in [0, 1], resized to 299 x 299 (bilinear, antialiased)."""
        check_images("images", images)
        if self.original:
            pooled = self.network((images * 255).round().byte())
        else:
            size = (_SIDE, _SIDE)
            resized = F.interpolate(images, size, mode="bilinear", antialias=True)
            pooled = self.network(resized * 2 - 1)
        return Features(pooled, F.linear(pooled, self.head.to(pooled), _to(self.bias, pooled)))


class GenerativeQuality(torchmetrics.Metric):
    """FID and IS of generated images against real ones.

    `compute()` gives `FID` (of two or more images of each kind, else NaN), `IS` and `IS std`.
    The state has sums for FID, and for IS the logits of every image (4 K bytes each).

    Args:
        width: of the pooled features.
    """

    full_state_update = False
    is_differentiable = False

    count: Tensor

    def __init__(self, width: int = 2048) -> None:
        super().__init__()
        self.width = width
        features = nn.Identity()
        features.num_features = width  # type: ignore[assignment]
        self.distance = FrechetInceptionDistance(features)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that all logits are stored
            self.inception = _OrderedInceptionScore(nn.Identity())
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        prevent_compute_groups(self)

    def update(self, drawn: Features, real: Features) -> None:
        """Add the features of some images."""
        self.distance.update(real.pooled.to(self.device), real=True)
        self.distance.update(drawn.pooled.to(self.device), real=False)
        self.inception.update(drawn.logits.to(self.device))
        self.count += len(drawn.pooled)

    # torchmetrics saves and merges only a metric's own states, not those of metrics inside it.

    def forward(self, drawn: Features, real: Features) -> dict[str, Tensor]:
        """Add some images; returns the values of these images alone."""
        self.update(drawn, real)
        batch = GenerativeQuality(self.width).to(self.device)
        batch.update(drawn, real)
        return batch.compute()

    def merge_state(self, incoming_state: dict[str, Any] | torchmetrics.Metric) -> None:
        """Add the state of another such metric.

        Raises:
            InputError: it is another metric.
        """
        if not isinstance(incoming_state, GenerativeQuality):
            raise bad_input("merged", "a GenerativeQuality", type(incoming_state).__name__)
        super().merge_state(incoming_state)
        self.distance.merge_state(incoming_state.distance)
        self.inception.merge_state(incoming_state.inception)

    def compute(self) -> dict[str, Tensor]:
        """FID, IS and the latter's standard deviation."""
        if self.count < 2:
            return {name: torch.tensor(torch.nan) for name in ("FID", "IS", "IS std")}
        score, deviation = self.inception.compute()
        return {"FID": self.distance.compute(), "IS": score, "IS std": deviation}

    def reset(self) -> None:
        """Drop all images."""
        super().reset()
        self.distance.reset()
        self.inception.reset()


class _OrderedInceptionScore(InceptionScore):
    """IS whose random split does not depend on the order of images, batches and processes."""

    features: list[Tensor]

    def __init__(self, feature: nn.Module) -> None:
        super().__init__(feature)
        # Concatenated before gathering: processes may have unequal numbers of batches.
        self.add_state("features", [], dist_reduce_fx="cat")

    def compute(self) -> tuple[Tensor, Tensor]:
        features = self.features
        rows = dim_zero_cat(features)
        order = np.lexsort(rows.cpu().numpy().T)
        self.features = [rows[torch.from_numpy(order).to(rows.device)]]
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                score: tuple[Tensor, Tensor] = super().compute()
        finally:
            self.features = features
        return score


class LpipsDiversity(torchmetrics.Metric):
    """Mean LPIPS of pairs of images: `compute()` gives `LPIPS diversity`, NaN before the first.

    Args:
        weights: the state dict of torchvision's AlexNet, VGG-16 or SqueezeNet 1.1; LPIPS' own
            linear weights come with torchmetrics.
        where: what messages and `name` call them.

    Attributes:
        name: the network, for tables.

    Raises:
        InputError: the weights are of another network.
    """

    full_state_update = False
    is_differentiable = False

    total: Tensor
    count: Tensor

    def __init__(self, weights: Mapping[str, Tensor], where: str) -> None:
        super().__init__()
        kind, model, published = _lpips_network(weights, where)
        self.name = f"LPIPS of {model}, {where}"
        with _in_torch_hub(weights, published.url):
            try:
                lpips = LearnedPerceptualImagePatchSimilarity(kind, normalize=True)
            except RuntimeError as error:  # of load_state_dict
                raise bad_input(where, f"torchvision's {model}", "other shapes") from error
        self.network = lpips.net
        for name in ("total", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        prevent_compute_groups(self)

    @torch.no_grad()
    def update(self, first: Tensor, second: Tensor) -> None:
        """Count pairs: both `[B, 3, H, W]`, float in [0, 1]."""
        for images in (first, second):
            check_images("images", images)
        if len(first) == 0:
            return
        pair = (images.to(self.device) for images in (first, second))
        distance = self.network(*pair, normalize=True)
        self.total += distance.sum().to(self.total)
        self.count += len(first)

    def compute(self) -> dict[str, Tensor]:
        """The mean."""
        return {"LPIPS diversity": self.total / self.count}


def _original(weights: Mapping[str, Tensor], where: str) -> nn.Module:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pth"
        torch.save(dict(weights), path)
        try:
            return NoTrainInceptionV3("inception-v3-compat", ["2048"], str(path))
        except ModuleNotFoundError as error:
            raise InputError(
                f"{where}: expected the package torch-fidelity for Inception v3 of 2015, got none; "
                "pip install torch-fidelity"
            ) from error
        except RuntimeError as error:
            raise bad_input(where, "weights of Inception v3 of 2015", "other shapes") from error


def _torchvision(weights: Mapping[str, Tensor], where: str) -> nn.Module:
    network: nn.Module = torchvision.models.inception_v3(
        weights=None, init_weights=False, aux_logits=False
    )
    main = {name: value for name, value in weights.items() if not name.startswith("AuxLogits.")}
    try:
        network.load_state_dict(main)
    except RuntimeError as error:
        raise bad_input(where, "weights of torchvision's inception_v3", "other shapes") from error
    network.fc = nn.Identity()
    network.eval()
    return network


def _lpips_network(
    weights: Mapping[str, Tensor], where: str
) -> tuple[LpipsNetwork, str, torchvision.models.Weights]:
    """The network of these weights, told by its first convolution and its depth."""
    models = torchvision.models
    shape = tuple(weights[_FIRST].shape) if _FIRST in weights else ()
    if shape == (64, 3, 11, 11):
        return "alex", "AlexNet", models.AlexNet_Weights.DEFAULT
    if shape == (64, 3, 3, 3) and "features.28.weight" in weights:
        return "vgg", "VGG-16", models.VGG16_Weights.DEFAULT
    if shape == (64, 3, 3, 3) and "features.3.squeeze.weight" in weights:
        return "squeeze", "SqueezeNet 1.1", models.SqueezeNet1_1_Weights.DEFAULT
    raise bad_input(where, "weights of torchvision's AlexNet, VGG-16 or SqueezeNet 1.1", "others")


@contextmanager
def _in_torch_hub(weights: Mapping[str, Tensor], url: str) -> Iterator[None]:
    """Puts the weights where torch.hub caches what it downloads from `url`."""
    before = torch.hub.get_dir()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoints" / url.rsplit("/", 1)[-1]
        path.parent.mkdir()
        torch.save(dict(weights), path)
        torch.hub.set_dir(folder)
        try:
            yield
        finally:
            torch.hub.set_dir(before)


def _to(bias: Tensor | None, like: Tensor) -> Tensor | None:
    return None if bias is None else bias.to(like)
