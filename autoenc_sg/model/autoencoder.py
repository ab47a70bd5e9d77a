"""The autoencoder: `parse` a photo into its scene graph, `render` a graph into a photo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import torch
from PIL import Image
from torch import Tensor, nn

from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.images import ImageSource, to_pil
from autoenc_sg.core.layers import ImageRandom
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch, check_graphs
from autoenc_sg.core.scene_graph_views import translate
from autoenc_sg.core.structures import Regions
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.detector import Detections, FeatureMaps, build_detector
from autoenc_sg.generator import Generated, Generator
from autoenc_sg.model.appearance import AppearanceEncoder
from autoenc_sg.model.background import BackgroundEncoder
from autoenc_sg.model.codes import encode_appearance
from autoenc_sg.model.features import PhotoFeatures, features_of
from autoenc_sg.model.given_objects import Boxes, Labels, with_given_classes
from autoenc_sg.model.graph_pass import GraphPass
from autoenc_sg.model.modes import inference
from autoenc_sg.model.noise_seeds import Seeds, checked_seeds
from autoenc_sg.model.parsing import as_request, parsed_batches, with_thresholds
from autoenc_sg.model.region_reader import graph_of_detections
from autoenc_sg.predictors.build import build_predictor
from autoenc_sg.relpn import RelationProposalNetwork
from autoenc_sg.weights.checkpoint import DECODER, Checkpoint, is_decoder, read_checkpoint
from autoenc_sg.weights.pretrained import find_pretrained, save_pretrained
from autoenc_sg.weights.state_dict import load_weights


class AutoEncoder(nn.Module):
    """Detector, relation proposals and predictor (the encoder) and generator (the decoder).

    Example:
        >>> model = AutoEncoder.from_checkpoint("runs/demo")
        >>> graph = model.parse(Image.open("photo.jpg"))
        >>> picture = model.render(graph, seed=0)

    Args:
        config: sizes of every part.
        vocabulary: names of classes and predicates; decides C and P.
        download: fetch the backbone's pretrained weights, if the configuration wants some; off
            where a checkpoint's are loaded next.

    Attributes:
        appearance: from regions' maps to appearance codes, or None without codes.
        background: the same of what lies outside all boxes, or None.
        has_encoder: the encoder has weights of its own; without (weights of sg2im, say) `parse`
            raises.
        about: the free description of the folder that it was read from; see `model.familiarity`.
    """

    def __init__(self, config: RunConfig, vocabulary: Vocabulary, download: bool = True) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        objects, predicates = vocabulary.num_objects, vocabulary.num_predicates
        self.detector = build_detector(config.detector, objects, download)
        features = self.detector.feature_dim
        self.relpn = RelationProposalNetwork(config.relpn, features, objects)
        self.predictor = build_predictor(
            config.predictor, features, self.detector.pooled_size, objects, predicates
        )
        self.generator = Generator(config.generator, objects, predicates)
        codes = config.generator.appearance_dim
        cells, channels = config.generator.background_cells, self.detector.map_channels
        colors = config.generator.appearance_colors
        self.appearance = AppearanceEncoder(channels, codes, colors) if codes else None
        self.background = BackgroundEncoder(channels, codes, cells, colors > 0) if cells else None
        self.has_encoder = True
        self.about: Mapping[str, Any] = {}

    @classmethod
    def from_checkpoint(cls, path: str | Path, device: torch.device | str = "cpu") -> AutoEncoder:
        """The model of a checkpoint file, a run's folder or a folder of `save`, in evaluation mode.

        Raises:
            InputError: it is missing, damaged, not a checkpoint or does not fit its own config.
        """
        with torch.inference_mode(False):  # its weights can be trained wherever it was loaded
            checkpoint = read_checkpoint(Path(path))
            model = cls(checkpoint.config, checkpoint.vocabulary, download=False)
            model.load(checkpoint.model, str(path))
            model.about = checkpoint.about
            return model.to(device).eval()

    @classmethod
    def from_pretrained(
        cls, source: str | Path, device: torch.device | str = "cpu", revision: str | None = None
    ) -> AutoEncoder:
        """The model in a folder of `save`, one of the package's by name, or a repository's.

        Arguments and errors as in `weights.pretrained.find_pretrained`.
        """
        return cls.from_checkpoint(find_pretrained(source, revision), device)

    def save(
        self,
        folder: str | Path,
        dtype: torch.dtype = torch.float32,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """Write `model.safetensors` and `model.json` for `from_pretrained`.

        Args:
            folder: made if missing.
            dtype: of the weights in the file, such as float16: half the size.
            about: free description (JSON values), kept in `model.json`.

        Raises:
            InputError: a weight that `dtype` cannot hold, or the system refuses to write.
        """
        weights = self.state_dict()
        if not self.has_encoder:
            weights = {name: value for name, value in weights.items() if name.startswith(DECODER)}
        model = Checkpoint(self.config, self.vocabulary, weights)
        save_pretrained(Path(folder), model, dtype, about)

    save_pretrained = save  # as models of the Hugging Face Hub call it

    def load(self, weights: Mapping[str, Tensor], where: str) -> None:
        """Take the weights of a whole model, or of a decoder alone.

        Raises:
            InputError: a name or shape does not fit.
        """
        self.has_encoder = not is_decoder(weights)
        if self.has_encoder:
            load_weights(self, weights, where)
        else:
            generator = {name[len(DECODER) :]: value for name, value in weights.items()}
            load_weights(self.generator, generator, where)

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return next(self.parameters()).device

    # Encoder --------------------------------------------------------------------------------------

    def graph_pass(
        self,
        regions: Regions,
        required: Tensor | None = None,
        random: ImageRandom | None = None,
    ) -> GraphPass:
        """From regions to graph logits.

        `required [K] bool` marks candidate pairs (in `relpn.all_pairs` order) that are kept
        whatever their score: training passes the true relations. `random` is for dropout.
        """
        candidates, logits = self.relpn(regions)
        pairs = self.relpn.select(regions, candidates, logits, required)
        subgraphs = self.detector.union_features(regions, pairs.pairs)
        graph = self.predictor(regions, pairs, subgraphs, random)
        if self.appearance is not None:
            codes = self.appearance(self.detector.region_maps(regions), regions)
            graph = replace(graph, appearance=codes)
        return GraphPass(regions, candidates, logits, graph)

    @torch.no_grad()
    def graph_logits(
        self, images: Sequence[Tensor], object_threshold: float | None = None
    ) -> GraphLogits:
        """Images `[3, H, W]` (uint8 or float in [0, 1]) to the logits of their graphs (SGGen).

        The background's codes are those outside the objects above `object_threshold`; see
        `codes.with_background`.

        Raises:
            InputError: the model is a decoder alone.
        """
        if not self.has_encoder:
            raise bad_input("parse", "a model with an encoder", "a decoder alone")
        maps = self.detector.encode([image.to(self.device) for image in images])
        return self.detected_graph_logits(maps, object_threshold)[0]

    @torch.no_grad()
    def detected_graph_logits(
        self, maps: FeatureMaps, object_threshold: float | None = None
    ) -> tuple[GraphLogits, Detections]:
        """The graphs over what the detector finds (`graph_of_detections`), and its detections."""
        detections = self.detector.detect(maps)
        regions = self.detector.describe(maps, detections.boxes, detections.image_index)
        return graph_of_detections(self, regions, maps, object_threshold), detections

    @torch.no_grad()
    def graph_logits_of(
        self,
        maps: FeatureMaps,
        boxes: Tensor,
        image_index: Tensor,
        labels: Tensor | None = None,
    ) -> GraphLogits:
        """The graph over given boxes `[N, 4]` (SGCls), or also their classes (PredCls).

        `image_index [N]` ascends; of the classes `labels [N]` 0 is an unknown one.
        """
        regions = replace(self.detector.describe(maps, boxes, image_index), given=True)
        if labels is not None:
            regions = with_given_classes(regions, labels)
        return self.graph_pass(regions).graph

    @torch.no_grad()
    def with_appearance(self, images: Sequence[Tensor], graphs: SceneGraphBatch) -> SceneGraphBatch:
        """`codes.encode_appearance` without gradient."""
        return encode_appearance(self, images, graphs)

    @overload
    def parse(  # type: ignore[overload-overlap]  # a str is a Sequence of str, too
        self,
        photo: ImageSource,
        boxes: Boxes | None = None,
        labels: Labels | None = None,
        *,
        batch_size: int = 8,
        object_threshold: float | None = None,
        edge_threshold: float | None = None,
    ) -> SceneGraph: ...

    @overload
    def parse(
        self,
        photo: Sequence[ImageSource],
        boxes: Sequence[Boxes] | None = None,
        labels: Sequence[Labels | None] | None = None,
        *,
        batch_size: int = 8,
        object_threshold: float | None = None,
        edge_threshold: float | None = None,
    ) -> list[SceneGraph]: ...

    def parse(
        self,
        photo: ImageSource | Sequence[ImageSource],
        boxes: Any = None,
        labels: Any = None,
        *,
        batch_size: int = 8,
        object_threshold: float | None = None,
        edge_threshold: float | None = None,
    ) -> SceneGraph | list[SceneGraph]:
        """The scene graph of a photo, boxes in its pixels, on the CPU; of a list, a list of graphs.

        Args:
            photo: a path, a PIL image (turned upright by its EXIF orientation, as a file is), an
                array `[H, W, 3]` or a tensor `[3, H, W]`, RGB, uint8 or float in [0, 1]; or a list
                of those, of any sizes.
            boxes: xyxy in pixels of the upright photo: its objects, instead of detected ones
                (SGCls). All are kept, as they are. For a list of photos a list of such boxes.
            labels: names or ids of the boxes' classes (PredCls); wants boxes.
            batch_size: photos that the network sees at a time.
            object_threshold: least class score of an object, instead of `config.decode`'s.
            edge_threshold: least weight of a relation, instead of `config.decode`'s.

        Raises:
            InputError: a photo cannot be read, boxes or labels are not as stated, or the model is a
                decoder alone.
        """
        decode = with_thresholds(self.config.decode, object_threshold, edge_threshold)
        request = as_request(photo, boxes, labels, batch_size, decode)
        graphs = [graph for batch in parsed_batches(self, request) for graph in batch.graphs()]
        return graphs if request.is_list else graphs[0]

    @overload
    def features(  # type: ignore[overload-overlap]
        self,
        photo: ImageSource,
        boxes: Boxes | None = None,
        labels: Labels | None = None,
        *,
        batch_size: int = 8,
        object_threshold: float | None = None,
        edge_threshold: float | None = None,
    ) -> PhotoFeatures: ...

    @overload
    def features(
        self,
        photo: Sequence[ImageSource],
        boxes: Sequence[Boxes] | None = None,
        labels: Sequence[Labels | None] | None = None,
        *,
        batch_size: int = 8,
        object_threshold: float | None = None,
        edge_threshold: float | None = None,
    ) -> list[PhotoFeatures]: ...

    def features(
        self,
        photo: ImageSource | Sequence[ImageSource],
        boxes: Any = None,
        labels: Any = None,
        *,
        batch_size: int = 8,
        object_threshold: float | None = None,
        edge_threshold: float | None = None,
    ) -> PhotoFeatures | list[PhotoFeatures]:
        """The graph of a photo with a vector for each object, each relation and the whole.

        Arguments, order and errors as in `parse`.
        """
        decode = with_thresholds(self.config.decode, object_threshold, edge_threshold)
        request = as_request(photo, boxes, labels, batch_size, decode)
        features = [item for batch in parsed_batches(self, request) for item in features_of(batch)]
        return features if request.is_list else features[0]

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

    def generate_batch(
        self,
        graphs: Sequence[SceneGraph],
        seeds: Seeds,
        predict_boxes: bool = False,
        temperature: float = 1.0,
    ) -> Generated:
        """Everything the generator makes of graphs.

        Args:
            graphs: one or more, on any device; their masks, if all have some, are drawn instead of
                predicted ones. A graph of another vocabulary is translated by its names.
            seeds: of the noise, 0..2^63 - 1: one for each graph, or one number for all of them.
            predict_boxes: draw the generator's boxes instead of the graphs'.
            temperature: factor of the noise.

        Raises:
            InputError: no graph, another number of seeds than of graphs, an id or a name that is
                not in the vocabulary, or what comes out is not finite.
        """
        check_graphs(graphs)
        numbers = checked_seeds(seeds, len(graphs))
        translated = [translate(graph, self.vocabulary) for graph in graphs]
        with inference(self):
            noise = self.generator.seeded_noise(numbers).scaled(temperature)
            relaxed = self.relax(SceneGraphBatch.collate(translated))
            generated: Generated = self.generator(relaxed, noise, use_predicted_boxes=predict_boxes)
        if not bool(generated.image.isfinite().all()):
            raise bad_input("picture", "finite numbers", "none: weights or noise are too large")
        return generated

    def render_batch(
        self,
        graphs: Sequence[SceneGraph],
        seeds: Seeds = 0,
        predict_boxes: bool | None = None,
    ) -> Tensor:
        """Pictures `[B, 3, S, S]` float32 in [0, 1] of graphs; arguments as in `generate_batch`.

        With `predict_boxes=None` the generator's boxes are drawn of the graphs that have none. No
        graphs give no pictures: `[0, 3, S, S]`.
        """
        check_graphs(graphs)
        numbers = checked_seeds(seeds, len(graphs))
        predicted = [predict_boxes or (predict_boxes is None and not g.has_boxes) for g in graphs]
        if len(set(predicted)) == 1:
            return self.generate_batch(graphs, numbers, predicted[0]).image.float().clamp(0, 1)
        side = self.config.generator.image_size
        images = torch.zeros(len(graphs), 3, side, side, device=self.device)
        for mode in set(predicted):  # a batch of the generator draws one kind of boxes
            rows = [i for i, other in enumerate(predicted) if other == mode]
            part, part_seeds = [graphs[i] for i in rows], [numbers[i] for i in rows]
            images[rows] = self.render_batch(part, part_seeds, mode)
        return images

    def render(
        self, graph: SceneGraph, seed: int = 0, predict_boxes: bool | None = None
    ) -> Image.Image:
        """The picture of a graph; the same seed gives the same picture."""
        return to_pil(self.render_batch([graph], [seed], predict_boxes)[0])

    def reconstruct(self, photo: ImageSource, seed: int = 0) -> Image.Image:
        """`render(parse(photo))`."""
        return self.render(self.parse(photo), seed)
