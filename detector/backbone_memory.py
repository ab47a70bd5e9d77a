"""A memory of what a backbone that is not trained gives for an image: computed once an image."""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from autoenc_sg.core.boxes import ImageSize

Maps = OrderedDict[str, Tensor]
_DIVISOR = 32  # images are padded to multiples of it


class BackboneMemory:
    """Maps of images by a digest of their pixels; what was used longest ago is forgotten first.

    Each image is seen alone, padded at its lower right to multiples of 32 pixels, so that what is
    remembered depends neither on the other images of its batch nor on what was seen before. (In a
    batch the padding is larger, and changes cells near an image's lower and right border.)

    Args:
        megabytes: of all maps together (2^20 bytes each).
    """

    def __init__(self, megabytes: int) -> None:
        self.capacity = megabytes * 2**20
        self.size = 0
        self._entries: OrderedDict[bytes, Maps] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Forget everything: the backbone's weights may change from now on."""
        self._entries.clear()
        self.size = 0

    @torch.no_grad()
    def maps(
        self, trunk: Callable[[Tensor], Maps], images: Tensor, sizes: Sequence[ImageSize]
    ) -> Maps:
        """The trunk's maps of a padded batch, zero where an image's own maps end.

        Args:
            trunk: from `[B, 3, H, W]` to maps by name.
            images: `[B, 3, H, W]`, each image in the upper left corner.
            sizes: (height, width) of each image.
        """
        parts = [self._of_image(trunk, image, size) for image, size in zip(images, sizes)]
        names = parts[0].keys()
        return OrderedDict((name, _padded([part[name] for part in parts])) for name in names)

    def _of_image(self, trunk: Callable[[Tensor], Maps], image: Tensor, size: ImageSize) -> Maps:
        height, width = (math.ceil(side / _DIVISOR) * _DIVISOR for side in size)
        alone = image[:, :height, :width].contiguous()
        key = _digest(alone)
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key]
        maps = trunk(alone[None])
        self._entries[key] = maps
        self.size += _num_bytes(maps)
        while self.size > self.capacity and len(self._entries) > 1:
            self.size -= _num_bytes(self._entries.popitem(last=False)[1])
        return maps


def is_constant(trunk: nn.Module) -> bool:
    """Whether a network gives the same for an image in every step: nothing in it is trained."""
    if any(parameter.requires_grad for parameter in trunk.parameters()):
        return False
    return not any(
        module.training
        and (isinstance(module, _BatchNorm) or (isinstance(module, _DropoutNd) and module.p > 0))
        for module in trunk.modules()
    )


def _padded(maps: Sequence[Tensor]) -> Tensor:
    """Maps `[1, D, h_i, w_i]` as one batch, with zeros at the lower right."""
    largest = [max(part.shape[axis] for part in maps) for axis in (2, 3)]
    return torch.cat(
        [
            F.pad(part, (0, largest[1] - part.shape[3], 0, largest[0] - part.shape[2]))
            for part in maps
        ]
    )


def _digest(image: Tensor) -> bytes:
    digest = hashlib.blake2b(repr((image.dtype, *image.shape)).encode(), digest_size=16)
    digest.update(image.detach().cpu().numpy().tobytes())
    return digest.digest()


def _num_bytes(maps: Maps) -> int:
    return sum(part.numel() * part.element_size() for part in maps.values())
