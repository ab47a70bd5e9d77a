"""The autoencoder: `parse` a photo into its scene graph, `render` a graph into a photo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.images import as_tensor, to_pil
from autoenc_sg.core.relaxation import GraphLogits, RelaxedGraph
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.structures import Regions
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.detector import FeatureMaps, build_detector
from autoenc_sg.generator import Generated, Generator
from autoenc_sg.model.appearance import AppearanceEncoder
from autoenc_sg.predictors.gcn import GraphPredictor
from autoenc_sg.relpn import RelationProposalNetwork
from autoenc_sg.weights.checkpoint import (
    DECODER,
    is_decoder,
    load_weights,
    read_checkpoint,
)

Photo = Image.Image | np.ndarray | Tensor  # type: ignore[type-arg]


@dataclass(frozen=True, eq=False)
class GraphPass:
    """What one way from regions to a graph computes; training needs the steps in between.

    Attributes:
        regions: the N regions.
        candidates: `[K, 2]` all ordered pairs, `relatedness_logits [K]` theirs.
        graph: the logits of the graph on the chosen pairs.
    """

    regions: Regions
    candidates: Tensor
    relatedness_logits: Tensor
    graph: GraphLogits


class AutoEncoder(nn.Module):
    """Detector, relation proposals and predictor (the encoder) and generator (the decoder).

    Example:
        >>> model = AutoEncoder.from_checkpoint("runs/demo/checkpoint.pt")
        >>> graph = model.parse(Image.open("photo.jpg"))
        >>> picture = model.render(graph, seed=0)

    Args:
        config: sizes of every part.
        vocabulary: names of classes and predicates; decides C and P.
        download: fetch the backbone's pretrained weights, if the configuration wants some; off
            where a checkpoint's are loaded next.

    Attributes:
        appearance: from regions' maps to appearance codes, or None without codes.
        has_encoder: the encoder has weights of its own; without (weights of sg2im, say) `parse`
            raises.
    """

    def __init__(self, config: RunConfig, vocabulary: Vocabulary, download: bool = True) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        objects, predicates = vocabulary.num_objects, vocabulary.num_predicates
        self.detector = build_detector(config.detector, objects, download)
        features = self.detector.feature_dim
        self.relpn = RelationProposalNetwork(config.relpn, features, objects)
        self.predictor = GraphPredictor(
            config.predictor, features, self.detector.pooled_size, objects, predicates
        )
        self.generator = Generator(config.generator, objects, predicates)
        codes = config.generator.appearance_dim
        channels = self.detector.map_channels
        self.appearance = AppearanceEncoder(channels, codes) if codes else None
        self.has_encoder = True

    @classmethod
    def from_checkpoint(cls, path: str | Path, device: torch.device | str = "cpu") -> AutoEncoder:
        """The model of a checkpoint, in evaluation mode.

        Raises:
            InputError: the file is missing, is not a checkpoint or does not fit its own config.
        """
        checkpoint = read_checkpoint(Path(path))
        model = cls(checkpoint.config, checkpoint.vocabulary, download=False)
        model.load(checkpoint.model, str(path))
        return model.to(device).eval()

    def load(self, weights: Mapping[str, Tensor], where: str) -> None:
        """Take the weights of a whole model, or of a decoder alone.

        Raises:
            InputError: a name or shape does not fit.
        """
        self.has_encoder = not is_decoder(weights)
        if self.has_encoder:
            load_weights(self, weights, where)
        else:
            own = {name[len(DECODER) :]: value for name, value in weights.items()}
            load_weights(self.generator, own, where)

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return next(self.parameters()).device

    # Encoder --------------------------------------------------------------------------------------

    def graph_pass(self, regions: Regions, required: Tensor | None = None) -> GraphPass:
        """From regions to graph logits.

        `required [K] bool` marks candidate pairs (in `relpn.all_pairs` order) that are kept
        whatever
        their score: training passes the true relations.
        """
        candidates, logits = self.relpn(regions)
        pairs = self.relpn.select(regions, candidates, logits, required)
        subgraphs = self.detector.union_features(regions, pairs.pairs)
        graph = self.predictor(regions, pairs, subgraphs)
        if self.appearance is not None:
            codes = self.appearance(self.detector.region_maps(regions))
            graph = replace(graph, appearance=codes)
        return GraphPass(regions, candidates, logits, graph)

    @torch.no_grad()
    def graph_logits(self, images: Sequence[Tensor]) -> GraphLogits:
        """Images `[3, H, W]` (uint8 or float in [0, 1]) to the logits of their graphs (SGGen).

        Raises:
            InputError: the model is a decoder alone.
        """
        if not self.has_encoder:
            raise bad_input("parse", "a model with an encoder", "a decoder alone")
        maps = self.detector.encode([image.to(self.device) for image in images])
        found = self.detector.detect(maps)
        return self.graph_logits_of(maps, found.boxes, found.image_index)

    @torch.no_grad()
    def graph_logits_of(self, maps: FeatureMaps, boxes: Tensor, image_index: Tensor) -> GraphLogits:
        """The graph over given boxes `[N, 4]` (PredCls, SGCls) or found ones."""
        return self.graph_pass(self.detector.describe(maps, boxes, image_index)).graph

    @torch.no_grad()
    def region_maps(self, images: Sequence[Tensor], graphs: SceneGraphBatch) -> Tensor:
        """What the detector, as it is, sees in the graphs' boxes: `[N, D_map, S, S]`."""
        with evaluation(self.detector):
            maps = self.detector.encode([image.to(self.device) for image in images])
            boxes, index = graphs.boxes.to(self.device), graphs.image_index.to(self.device)
            return self.detector.region_maps(self.detector.describe(maps, boxes, index))

    @torch.no_grad()
    def with_appearance(self, images: Sequence[Tensor], graphs: SceneGraphBatch) -> SceneGraphBatch:
        """The graphs of these images with their objects' codes; unchanged by a model without."""
        if self.appearance is None:
            return graphs
        codes = self.appearance(self.region_maps(images, graphs))
        return replace(graphs, appearance=codes.to(graphs.boxes.device))

    def parse(self, image: Photo) -> SceneGraph:
        """The graph of one photo, boxes in its pixels; `config.decode` holds the thresholds."""
        return self.parse_batch([as_tensor(image)])[0]

    def parse_batch(self, images: Sequence[Tensor]) -> list[SceneGraph]:
        """The scene graphs of several images `[3, H, W]`, of any sizes."""
        with evaluation(self):
            logits = self.graph_logits(images)
        decode = self.config.decode
        graphs = logits.decode(decode.object_threshold, decode.edge_threshold)
        return [graph.to("cpu") for graph in graphs.split()]

    # Decoder --------------------------------------------------------------------------------------

    def relax(self, graphs: SceneGraphBatch) -> RelaxedGraph:
        """Hard graphs as the generator reads them."""
        objects, predicates = self.vocabulary.num_objects, self.vocabulary.num_predicates
        for name, ids, size in (
            ("object", graphs.labels, objects),
            ("predicate", graphs.triples[:, 1], predicates),
        ):
            if len(ids) and int(ids.max()) >= size:
                raise bad_input(f"{name} id", f"below {size}", int(ids.max()))
        return RelaxedGraph.from_graph(graphs.to(self.device), objects, predicates)

    @torch.no_grad()
    def generate_batch(
        self,
        graphs: Sequence[SceneGraph],
        seeds: Sequence[int],
        predict_boxes: bool = False,
        temperature: float = 1.0,
    ) -> Generated:
        """Everything the generator makes of graphs.

        Args:
            graphs: one or more; their masks, if all have some, are drawn instead of predicted ones.
            seeds: one of the noise for each graph.
            predict_boxes: draw the generator's boxes instead of the graphs'.
            temperature: factor of the noise.

        Raises:
            InputError: an id lies outside the vocabulary, or what comes out is not finite.
        """
        with evaluation(self):
            noise = self.generator.seeded_noise(seeds).scaled(temperature)
            relaxed = self.relax(SceneGraphBatch.collate(graphs))
            made: Generated = self.generator(relaxed, noise, use_predicted_boxes=predict_boxes)
        if not bool(made.image.isfinite().all()):
            raise bad_input("picture", "finite numbers", "none: weights or noise are too large")
        return made

    def render_batch(
        self, graphs: Sequence[SceneGraph], seeds: Sequence[int], predict_boxes: bool = False
    ) -> Tensor:
        """Pictures `[B, 3, S, S]` in [0, 1] of graphs, one seed of the noise each."""
        return self.generate_batch(graphs, seeds, predict_boxes).image.clamp(0, 1)

    def render(self, graph: SceneGraph, seed: int = 0, predict_boxes: bool = False) -> Image.Image:
        """The picture of a graph; the same seed gives the same picture."""
        return to_pil(self.render_batch([graph], [seed], predict_boxes)[0])

    def reconstruct(self, image: Photo, seed: int = 0) -> Image.Image:
        """`render(parse(image))`."""
        return self.render(self.parse(image), seed)


class evaluation:
    """Evaluation mode inside a `with`, the former mode after it."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.modes = {name: part.training for name, part in module.named_modules()}

    def __enter__(self) -> None:
        self.module.eval()

    def __exit__(self, *_: object) -> None:
        for name, part in self.module.named_modules():
            part.training = self.modes[name]
