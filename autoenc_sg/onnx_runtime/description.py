"""The file `model.json` beside the exported graphs: what the steps between them read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autoenc_sg.core.errors import bad_input

DESCRIPTION = "model.json"
FORMAT = "autoenc-sg onnx 1"


@dataclass(frozen=True)
class Pixels:
    """How a photo becomes the backbone's input.

    Attributes:
        mean, std: of pixel values in [0, 1], by channel (RGB).
        min_size, max_size: the short side becomes `min_size` unless the long one would pass
            `max_size`, pixels.
        divisor: height and width are padded to multiples of it, after the normalization.
        color_parts: mean colours are kept of so many parts along each side.
    """

    mean: list[float]
    std: list[float]
    min_size: int
    max_size: int
    divisor: int
    color_parts: int


@dataclass(frozen=True)
class Proposals:
    """How anchors become proposals.

    Attributes:
        cell_anchors: of each map, `[A, 4]` around (0, 0) in pixels of the network.
        before_nms: proposals of each map, at most.
        after_nms: of all maps together, at most.
        nms_threshold: IoU.
        min_size: least side, pixels.
    """

    cell_anchors: list[list[list[float]]]
    before_nms: int
    after_nms: int
    nms_threshold: float
    min_size: float


@dataclass(frozen=True)
class Pooling:
    """From which map a box is pooled.

    Attributes:
        num_maps: the first maps of the backbone are pooled from.
        first_level, last_level: log2 of the strides of the first and last of them.
        last_pixel: boxes hold their last pixel.
    """

    num_maps: int
    first_level: int
    last_level: int
    last_pixel: bool


@dataclass(frozen=True)
class Detection:
    """How class scores become detections, and detections a graph; see the configuration.

    Attributes:
        score_threshold, nms_threshold, detections: of `detector`.
        top_k, pair_nms: of `relpn`.
        object_threshold, edge_threshold, duplicate_threshold: of `decode`.
    """

    score_threshold: float
    nms_threshold: float
    detections: int
    top_k: int
    pair_nms: float | None
    object_threshold: float
    edge_threshold: float
    duplicate_threshold: float


@dataclass(frozen=True)
class Encoder:
    """What `parse` reads."""

    pixels: Pixels
    proposals: Proposals
    pooling: Pooling
    detection: Detection


@dataclass(frozen=True)
class Drawing:
    """What `render` reads.

    Attributes:
        image_size: side of the picture, pixels.
        noise: shapes of the generator's inputs of standard normal numbers, by name.
        appearance_dim: width of the appearance codes; 0: none.
        background_cells: codes of what lies outside all boxes, along each side; 0: none.
    """

    image_size: int
    noise: dict[str, list[int]]
    appearance_dim: int
    background_cells: int


@dataclass(frozen=True)
class Description:
    """All of it.

    Attributes:
        objects, predicates: names by id; entry 0 of both is reserved.
        encoder: None of a model that draws only.
        drawing: of the generator.
    """

    objects: list[str]
    predicates: list[str]
    encoder: Encoder | None
    drawing: Drawing

    def write(self, folder: Path) -> None:
        """Write `model.json`."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1)
        (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Description:
        """Read `model.json`.

        Raises:
            InputError: it is missing or not one of this version.
        """
        path = folder / DESCRIPTION
        expected = "the description of a model that `autoenc-sg export onnx` wrote"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.pop("format") != FORMAT:
                raise bad_input(path, expected, "one of another version")
            return cls(
                data["objects"],
                data["predicates"],
                _encoder(data["encoder"]),
                Drawing(**data["drawing"]),
            )
        except OSError as error:
            raise bad_input(path, expected, error.strerror or error) from error
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise bad_input(path, expected, f"another file ({error})") from error


def _encoder(data: dict[str, Any] | None) -> Encoder | None:
    if data is None:
        return None
    return Encoder(
        Pixels(**data["pixels"]),
        Proposals(**data["proposals"]),
        Pooling(**data["pooling"]),
        Detection(**data["detection"]),
    )
