"""An exported model: `parse` a photo, `render` a graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime

from autoenc_sg.core.errors import bad_input, is_fraction, require
from autoenc_sg.onnx_runtime.boxes import box_scale, by_level, clipped, decoded, suppressed
from autoenc_sg.onnx_runtime.choices import detections, pairs, proposals, softmax
from autoenc_sg.onnx_runtime.description import Description, Encoder
from autoenc_sg.onnx_runtime.graph import OnnxGraph
from autoenc_sg.onnx_runtime.photos import Array, Photo, mean_colors, network_input, read_photo

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # of the box head's deltas
NOMINAL_SIDE = 1024.0  # the relation head reads boxes of an image of this height and width


class OnnxModel:
    """A folder of `autoenc-sg export onnx` in onnxruntime, on the CPU.

    Args:
        folder: of the export.
        threads: of onnxruntime; 0: its own choice.

    Raises:
        InputError: the folder is not an export, or a graph in it cannot be read.
    """

    def __init__(self, folder: str | Path, threads: int = 0) -> None:
        self.folder, self.threads = Path(folder), threads
        self.description = Description.read(self.folder)
        names = ["generator"]
        if self.description.encoder is not None:
            names += ["backbone", "regions", "relations"]
            drawing = self.description.drawing
            names += ["appearance"] if drawing.appearance_dim else []
            names += ["background"] if drawing.background_cells else []
        self._sessions = {name: self._session(name) for name in names}

    def _session(self, name: str) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        path = self.folder / f"{name}.onnx"
        try:
            return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has an exception for each of its status codes
            got = str(error).splitlines()[0]
            raise bad_input(path, "a graph that onnxruntime reads", got) from error

    def run(self, name: str, inputs: dict[str, Array]) -> dict[str, Array]:
        """The outputs of a graph by name; inputs that it does not have are left out."""
        session = self._sessions[name]
        names = [output.name for output in session.get_outputs()]
        used = {each.name: inputs[each.name] for each in session.get_inputs()}
        return dict(zip(names, session.run(names, used)))

    def parse(
        self,
        photo: Photo,
        object_threshold: float | None = None,
        edge_threshold: float | None = None,
    ) -> OnnxGraph:
        """The scene graph of a photo, as `AutoEncoder.parse`.

        Args:
            photo: see `photos.read_photo`.
            object_threshold: least class score of an object; None: the model's.
            edge_threshold: least weight of a relation; None: the model's.

        Raises:
            InputError: a photo that cannot be read, a threshold outside 0..1, or the export has no
                encoder.
        """
        encoder = self.description.encoder
        if encoder is None:
            raise bad_input("parse", "a model with an encoder", "a decoder alone")
        for name, value in (
            ("object_threshold", object_threshold),
            ("edge_threshold", edge_threshold),
        ):
            require(value is None or is_fraction(value), name, "a number in 0..1", value)
        options = encoder.detection
        least = options.object_threshold if object_threshold is None else object_threshold
        least_edge = options.edge_threshold if edge_threshold is None else edge_threshold
        pixels = read_photo(photo)
        size = pixels.shape[0], pixels.shape[1]
        maps, boxes, network_size = self._detected(pixels, encoder)
        logits = self._relations(maps, boxes, size, network_size, encoder)
        graph, rows = self._graph(logits, size, least, least_edge, options.duplicate_threshold)
        if not self.description.drawing.appearance_dim:
            return graph
        colors = mean_colors(pixels, encoder.pixels.color_parts)
        looks = self._appearance(maps, boxes[rows], size, network_size, encoder, colors)
        graph = replace(graph, appearance=looks)
        if not self.description.drawing.background_cells:
            return graph
        outside = self._background(maps, logits["boxes"][rows], size, network_size, encoder, colors)
        return replace(graph, background=outside)

    def _detected(
        self, pixels: Array, encoder: Encoder
    ) -> tuple[dict[str, Array], Array, tuple[int, int]]:
        """The backbone's maps, the detections' boxes in pixels of the photo, the network's size."""
        size = pixels.shape[0], pixels.shape[1]
        batch, network_size = network_input(pixels, encoder.pixels)
        outputs = self.run("backbone", {"pixels": batch})
        count = len(encoder.proposals.cell_anchors)
        maps = {f"map_{i}": outputs[f"map_{i}"] for i in range(encoder.pooling.num_maps)}
        regions = proposals(
            [outputs[f"objectness_{i}"] for i in range(count)],
            [outputs[f"deltas_{i}"] for i in range(count)],
            (batch.shape[2], batch.shape[3]),
            network_size,
            encoder.proposals,
        )
        described = self._described(maps, regions, network_size, encoder)
        boxes = decoded(described["deltas"], regions, BOX_WEIGHTS)
        boxes = clipped(boxes * (box_scale(size) / box_scale(network_size)), size)
        scores = softmax(described["class_logits"])
        return maps, detections(scores, boxes, encoder.detection), network_size

    def _described(
        self, maps: dict[str, Array], boxes: Array, size: tuple[int, int], encoder: Encoder
    ) -> dict[str, Array]:
        """The region heads' outputs for boxes `[K, 4]` in pixels of the network, row by row."""
        parts, order = by_level(boxes, encoder.pooling)
        inputs = {f"boxes_{i}": part for i, part in enumerate(parts)}
        inputs["unit_boxes"] = (boxes / box_scale(size))[order]
        outputs = self.run("regions", maps | inputs)
        back = np.argsort(order)
        return {name: values[back] for name, values in outputs.items()}

    def _relations(
        self,
        maps: dict[str, Array],
        boxes: Array,
        size: tuple[int, int],
        network_size: tuple[int, int],
        encoder: Encoder,
    ) -> dict[str, Array]:
        """Logits of the graph over detected boxes, which are in pixels of the photo."""
        to_network = box_scale(network_size) / box_scale(size)
        described = self._described(maps, boxes * to_network, network_size, encoder)
        products = described["subject_ends"] @ described["object_ends"].T
        chosen, relatedness = pairs(products, boxes, encoder.detection)
        unordered, rows = np.unique(np.sort(chosen, 1), axis=0, return_inverse=True)
        low = np.minimum(boxes[unordered[:, 0], :2], boxes[unordered[:, 1], :2])
        high = np.maximum(boxes[unordered[:, 0], 2:], boxes[unordered[:, 1], 2:])
        parts, order = by_level(np.concatenate([low, high], 1) * to_network, encoder.pooling)
        nominal = np.float32(NOMINAL_SIDE) / box_scale(size)
        inputs = {f"unions_{i}": part for i, part in enumerate(parts)}
        inputs |= {"union_rows": np.argsort(order)[rows.reshape(-1)], "pairs": chosen}
        inputs |= {"boxes": boxes * nominal, "class_logits": described["class_logits"]}
        inputs["features"] = described["features"]
        outputs = self.run("relations", maps | inputs)
        moved = outputs["moved_boxes"] / nominal
        return outputs | {"boxes": moved, "pairs": chosen, "relatedness": relatedness}

    def _graph(
        self,
        logits: dict[str, Array],
        size: tuple[int, int],
        object_threshold: float,
        edge_threshold: float,
        duplicate_threshold: float,
    ) -> tuple[OnnxGraph, Array]:
        """The hard graph without duplicates, and its objects' rows `[N, ] bool` of the logits.

        See `GraphLogits.without_duplicates` and `decode`.
        """
        scores = softmax(logits["object_logits"])[:, 1:]
        labels, best = scores.argmax(1), scores.max(1)
        boxes = clipped(logits["boxes"], size)
        is_kept = np.zeros(len(boxes), bool)
        is_kept[suppressed(boxes.astype(np.float64), best, labels, duplicate_threshold)] = True
        is_kept &= (best >= object_threshold) & (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
        predicates = softmax(logits["predicate_logits"])
        weights = logits["relatedness"] * (1 - predicates[:, 0])
        ends = logits["pairs"]
        rows = np.flatnonzero((weights >= edge_threshold) & is_kept[ends].all(1))
        place = np.cumsum(is_kept) - 1
        chosen, ends = predicates[rows, 1:], ends[rows]
        triples = np.stack([place[ends[:, 0]], chosen.argmax(1) + 1, place[ends[:, 1]]], 1)
        graph = OnnxGraph(
            labels[is_kept] + 1,
            boxes[is_kept],
            triples.astype(np.int64),
            size,
            best[is_kept],
            chosen.max(1) * best[ends].prod(1),
            tuple(self.description.objects),
            tuple(self.description.predicates),
        )
        return graph, is_kept

    def _appearance(
        self,
        maps: dict[str, Array],
        boxes: Array,
        size: tuple[int, int],
        network_size: tuple[int, int],
        encoder: Encoder,
        colors: Array,
    ) -> Array:
        """Appearance codes `[N, A]` of the objects' detected boxes, in pixels of the photo."""
        scaled = boxes * (box_scale(network_size) / box_scale(size))
        parts, order = by_level(scaled, encoder.pooling)
        inputs = {f"boxes_{i}": part for i, part in enumerate(parts)}
        inputs |= {"unit_boxes": (boxes / box_scale(size))[order], "colors": colors}
        return self.run("appearance", maps | inputs)["codes"][np.argsort(order)]

    def _background(
        self,
        maps: dict[str, Array],
        boxes: Array,
        size: tuple[int, int],
        network_size: tuple[int, int],
        encoder: Encoder,
        colors: Array,
    ) -> Array:
        """Codes `[G G, A]` of what lies outside the objects' boxes, in pixels of the photo."""
        network = np.array([network_size], np.float32)
        inside = network / (np.ceil(network / encoder.pixels.divisor) * encoder.pixels.divisor)
        inputs = {"map_0": maps["map_0"], "inside": inside, "colors": colors}
        inputs["unit_boxes"] = boxes / box_scale(size)
        return self.run("background", inputs)["codes"]

    def noise(self, seed: int) -> dict[str, Array]:
        """Standard normal numbers for one picture, by the generator's inputs.

        They are NumPy's, so a seed draws another picture than in PyTorch.
        """
        random = np.random.default_rng(seed)
        shapes = self.description.drawing.noise
        return {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}

    def render(
        self, graph: OnnxGraph, seed: int = 0, noise: dict[str, Array] | None = None
    ) -> Array:
        """The picture of a graph, `[S, S, 3]` uint8.

        Args:
            graph: its labels, triples and boxes are drawn.
            seed: of `noise`.
            noise: instead of that, such as PyTorch's.
        """
        inputs = {"labels": graph.labels, "triples": graph.triples}
        inputs["boxes"] = graph.boxes.astype(np.float32) / box_scale(graph.image_size)
        inputs |= self._codes(graph)
        inputs |= self.noise(seed) if noise is None else noise
        image = self.run("generator", inputs)["image"][0]
        pixels: Array = np.round(image.clip(0, 1).transpose(1, 2, 0) * 255).astype(np.uint8)
        return pixels

    def _codes(self, graph: OnnxGraph) -> dict[str, Array]:
        """The codes of a graph as the generator reads them; zeros where it has none."""
        drawing = self.description.drawing
        codes = {}
        if drawing.appearance_dim:
            codes["appearance"] = np.zeros((len(graph.labels), drawing.appearance_dim), np.float32)
            if graph.appearance is not None:
                codes["appearance"] = graph.appearance
        if drawing.background_cells:
            parts = drawing.background_cells**2
            codes["background"] = np.zeros((1, parts, drawing.appearance_dim), np.float32)
            if graph.background is not None:
                codes["background"] = graph.background[None]
        return codes
