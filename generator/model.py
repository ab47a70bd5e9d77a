"""The generator: from a scene graph to an image.

    object vectors = graph convolutions over embeddings -> box head
    + appearance codes, if any -> mask head
    layout = sum of vectors over warped masks
             + predicate vectors over union boxes, if any + background codes, if any
    -> cascaded refinement -> RGB

Source: paper, section 3.2, "Image Generator"; Johnson et al., Image Generation from Scene Graphs
(CVPR 2018) and google/sg2im `model.py`, whose parameter names and shapes are kept, so that its
published weights load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.layers import ImageRandom
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.generator.appearance import AppearanceInput, BackgroundInput
from autoenc_sg.generator.graph_conv import GraphTripleConv, GraphTripleConvNet
from autoenc_sg.generator.heads import MaskHead, box_head
from autoenc_sg.generator.image_node import add_image_nodes
from autoenc_sg.generator.layout import (
    Layout,
    RelationLayout,
    factor_layout,
    joined_layouts,
    with_background_vectors,
)
from autoenc_sg.generator.noise import GeneratorNoise
from autoenc_sg.generator.normalization import ImageNormalization
from autoenc_sg.generator.refinement import RefinementNetwork


@dataclass(frozen=True, eq=False)
class Generated:
    """The generator's output for B graphs with N objects, in their order.

    Attributes:
        image: `[B, 3, H, W]`, RGB in about [0, 1]; not clamped, so gradient is never cut off.
        boxes: `[N, 4]`, predicted, xyxy as fractions of the image; see `heads.box_head`.
        image_boxes: `[B, 4]`, predicted for the `__image__` nodes, should be [0, 0, 1, 1].
        masks: `[N, S, S]`, predicted, in [0, 1]; None without a mask head.
        image_masks: `[B, S, S]`, likewise for the `__image__` nodes, should be ones.
        factors: the layout without noise.
        vectors: `[N, D]` object vectors after the graph convolutions, without appearance.
    """

    image: Tensor
    boxes: Tensor
    image_boxes: Tensor
    masks: Tensor | None
    image_masks: Tensor | None
    factors: Layout
    vectors: Tensor

    @cached_property
    def layout(self) -> Tensor:
        """The layout's maps `[B, D, H, W]`, for conditional discriminators; computed on access."""
        return self.factors.maps(self.image.shape[-1])


class Generator(nn.Module):
    """sg2im's generator over relaxed graphs.

    Args:
        config: sizes.
        num_objects: C, object classes with the reserved 0, which is `__image__` here.
        num_predicates: P, predicates with the reserved 0, which is `__in_image__` here.
    """

    def __init__(self, config: GeneratorConfig, num_objects: int, num_predicates: int) -> None:
        super().__init__()
        self.config = config
        embedding, dim, hidden = config.embedding_dim, config.gconv_dim, config.gconv_hidden_dim
        batch_norm = config.mlp_normalization == "batch"
        self.obj_embeddings = nn.Embedding(
            num_objects + 1, embedding
        )  # as sg2im's, with an unused last row
        self.pred_embeddings = nn.Embedding(num_predicates, embedding)
        self.gconv = _first_layer(config)
        self.gconv_net: GraphTripleConvNet | None = None
        if config.gconv_layers > 1:
            self.gconv_net = GraphTripleConvNet(
                dim, hidden, config.gconv_layers - 1, config.gconv_pooling, batch_norm
            )
        self.box_net = box_head(dim, hidden, batch_norm)
        self.mask_net = MaskHead(dim, config.mask_size) if config.mask_size else None
        self.refinement_net = RefinementNetwork(
            dim,
            config.layout_noise_dim,
            config.refinement_dims,
            config.image_size,
            config.normalization,
            config.activation,
        )
        self.normalization = ImageNormalization()
        self.relation_net = RelationLayout(dim) if config.relation_layout else None
        self.appearance_net: AppearanceInput | None = None
        if config.appearance_dim:
            self.appearance_net = AppearanceInput(
                config.appearance_dim, dim, config.appearance_dropout
            )
        self.background_net: BackgroundInput | None = None
        if config.background_cells:
            self.background_net = BackgroundInput(
                config.appearance_dim, dim, config.appearance_dropout
            )

    def forward(
        self,
        graph: RelaxedGraph,
        noise: GeneratorNoise | None = None,
        use_predicted_boxes: bool = False,
        random: ImageRandom | None = None,
    ) -> Generated:
        """Draw the images of B graphs; differentiable in all tensors of the graph.

        Args:
            graph: its masks, if any, replace the mask head's.
            noise: from `noise` or `seeded_noise`; None: zeros.
            use_predicted_boxes: the box head's boxes, also those of the `__image__` nodes, replace
                the graph's.
            random: for the dropout of appearance codes in training; None: its seeds come from the
                global random state.

        Raises:
            InputError: there is no image, or the sizes of the vocabulary or of the appearance codes
                are not the generator's.
        """
        self._check(graph)
        full = add_image_nodes(graph)
        vectors, predicate_vectors = self.graph_vectors(full.graph)
        boxes = self.box_net(vectors)
        drawn_boxes = boxes if use_predicted_boxes else full.graph.boxes
        vectors_with_appearance = self._with_appearance(vectors, full.graph, random)
        masks = None if self.mask_net is None else self.mask_net(vectors_with_appearance)
        layout = factor_layout(
            vectors_with_appearance * full.graph.object_weights[:, None],
            drawn_boxes,
            masks if full.graph.masks is None else full.graph.masks,
            full.graph.image_index,
            graph.num_images,
            self.config.image_size,
        )
        if self.relation_net is not None:
            related, size = full.without_image_relations(), self.config.image_size
            predicate_vectors = predicate_vectors[: len(related.pairs)]
            relations = self.relation_net(predicate_vectors, drawn_boxes, related, size)
            layout = joined_layouts(layout, relations)
        if self.background_net is not None and graph.background is not None:
            empty = graph.image_index.new_zeros(graph.num_images)
            counts = empty.index_add(0, graph.image_index, torch.ones_like(graph.image_index))
            added = self.background_net(graph.background, random)
            layout = with_background_vectors(layout, counts, added)
        noise = noise or GeneratorNoise()
        image = self.normalization.inverse(self.refinement_net(layout, noise.layout, noise.input))
        rows, image_rows = full.object_rows, full.image_rows
        return Generated(
            image,
            boxes[rows],
            boxes[image_rows],
            None if masks is None else masks[rows],
            None if masks is None else masks[image_rows],
            layout,
            vectors[rows],
        )

    def object_vectors(self, graph: RelaxedGraph) -> Tensor:
        """Object vectors `[N, D]` of a graph with `__image__` nodes."""
        return self.graph_vectors(graph)[0]

    def graph_vectors(self, graph: RelaxedGraph) -> tuple[Tensor, Tensor]:
        """Vectors of objects and relations after the graph convolutions: `[N, D]` and `[M, D]`.

        Without graph convolutions those of relations are their embeddings, of another width.

        Args:
            graph: with `__image__` nodes.
        """
        objects = graph.objects @ self.obj_embeddings.weight[:-1]
        predicates = graph.predicates @ self.pred_embeddings.weight
        if isinstance(self.gconv, nn.Linear):
            return self.gconv(objects), predicates
        edges = (graph.pairs, graph.edge_weights)
        vectors, predicates = self.gconv(objects, predicates, *edges)
        if self.gconv_net is not None:
            vectors, predicates = self.gconv_net(vectors, predicates, *edges)
        return vectors, predicates

    def _with_appearance(
        self, vectors: Tensor, graph: RelaxedGraph, random: ImageRandom | None
    ) -> Tensor:
        if self.appearance_net is None or graph.appearance is None:
            return vectors
        added: Tensor = self.appearance_net(
            vectors, graph.appearance, graph.image_index, graph.num_images, random
        )
        return added

    def noise(self, num_images: int, generator: torch.Generator | None = None) -> GeneratorNoise:
        """Random noise for a batch, drawn with `generator`, on the model's device."""
        device = self.device
        source = device if generator is None else generator.device
        side, channels = self.refinement_net.input_side, self.config.layout_noise_dim
        size = self.config.image_size

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, device=source).to(device)

        start = draw(num_images, 1, side, side) if self.config.input_noise else None
        layout = draw(num_images, channels, size, size) if channels else None
        return GeneratorNoise(start, layout)

    def seeded_noise(self, seeds: Sequence[int]) -> GeneratorNoise:
        """Noise for one image per seed; it depends on neither device nor batch."""
        return self.noise_of(ImageRandom(seeds))

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.obj_embeddings.weight.device

    def noise_of(self, random: ImageRandom) -> GeneratorNoise:
        """Noise for the images of these random streams."""
        return GeneratorNoise.cat([self.noise(1, stream) for stream in random.streams])

    def _check(self, graph: RelaxedGraph) -> None:
        if graph.num_images < 1:
            raise bad_input("graphs to draw", "one or more", graph.num_images)
        got = (graph.objects.shape[1], graph.predicates.shape[1])
        expected = (self.obj_embeddings.num_embeddings - 1, self.pred_embeddings.num_embeddings)
        if got != expected:
            what = "object classes and predicates of a graph (with the reserved 0)"
            raise bad_input(what, str(expected), got)
        codes, width = graph.appearance, self.config.appearance_dim
        if codes is not None and codes.shape[1] != width:
            rule = f"{width} numbers an object" if width else "none: this generator reads none"
            raise bad_input("appearance codes", rule, f"{codes.shape[1]} numbers an object")
        background, cells = graph.background, self.config.background_cells
        shape = [graph.num_images, cells**2, width]
        if background is not None and list(background.shape) != shape:
            rule = f"shape {shape}" if cells else "none: this generator reads none"
            raise bad_input("background codes", rule, list(background.shape))


def _first_layer(config: GeneratorConfig) -> GraphTripleConv | nn.Linear:
    """From the embeddings' width to the vectors'; linear if there are no graph convolutions."""
    if config.gconv_layers == 0:
        return nn.Linear(config.embedding_dim, config.gconv_dim)
    return GraphTripleConv(
        config.embedding_dim,
        config.gconv_dim,
        config.gconv_hidden_dim,
        config.gconv_pooling,
        config.mlp_normalization == "batch",
    )
