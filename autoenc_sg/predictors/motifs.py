r"""The head `motifs`: stacked LSTMs over objects (Zellers et al. 2018, Neural Motifs).

The objects of an image are read in an order (`predictor.motifs.order`; `leftright` reads from the
right to the left, as the published code does).

    C = LSTM_o( [f_i ; softmax(class logits_i) E_1 ; relu(W_p box_i)] )             object context
    h_i = LSTM_d( [C_i ; E_d[label of the object read before]] )                        decoder
    O_i = softmax(class logits_i + W_d h_i)
    D = LSTM_e( [E_2[label_i] ; C_i] )                                              edge context
    [s_i ; t_i] = W_h D_i
    R_ij = softmax( W_r (s_i * t_j * v_k) )                               * element by element
    v_k = fc( u_k + conv(masks_k - 1/2) )

After the decoder detections are labelled anew, the surest (box, class) first; each one takes its
class from the boxes that overlap it by `suppression_threshold` (`suppressed`). Given boxes (SGCls,
PredCls) keep their classes.

Deviations: the decoder is fed its own labels in training, too; the LSTMs are PyTorch's
bidirectional ones, which read all images at once, as in Scene-Graph-Benchmark (`lstm: highway` has
the published ones); features are not detached, boxes are in fractions of the image and not batch
normalized; one box an object, not one a class; `dim` and `pair_dim` are set (512 and 4096); the
only dropout is `recurrent_dropout`, off by default and for highway LSTMs alone; E_d is as wide as
E_1 and E_2; word vectors have length 1, and a name of several words takes their mean, not its
longest word's; the frequency bias is `predictor.frequency_bias`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_iou

from autoenc_sg.config.predictor import PredictorConfig
from autoenc_sg.core.boxes import grid_coverage, to_unit_boxes, union_boxes
from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.layers import ImageRandom, mlp
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.predictors.contract import RelationPredictor, best_classes, causal_branches
from autoenc_sg.predictors.parts.embeddings import ByImage
from autoenc_sg.predictors.parts.lstm import AlternatingHighwayLSTM, BidirectionalLSTM, HighwayCell

_BOX_DIM = 128
_TINY = 1e-30  # probability of a class that was taken away


class MotifsPredictor(RelationPredictor):
    """Formulas in the module's docstring.

    Args:
        config: of the head.
        feature_dim: D of regions' and union features.
        pooled_size: S of the union features.
        num_classes, num_predicates: C and P with the reserved 0.
    """

    def __init__(
        self,
        config: PredictorConfig,
        feature_dim: int,
        pooled_size: int,
        num_classes: int,
        num_predicates: int,
    ) -> None:
        super().__init__(config, num_classes, num_predicates)
        dim, options = config.dim, config.motifs
        words, pair_dim = options.embedding_dim, options.pair_dim or dim
        self.object_words = nn.Embedding(num_classes, words)  # E_1
        self.box_in = nn.Sequential(nn.Linear(4, _BOX_DIM), nn.ReLU())
        self.object_context = self._lstm(feature_dim + words + _BOX_DIM, options.object_layers)
        dropout = options.recurrent_dropout
        self.decoder = Decoder(dim, words, num_classes, dropout) if options.object_layers else None
        self.object_classifier = None if options.object_layers else nn.Linear(dim, num_classes)
        self.label_words = nn.Embedding(num_classes, words) if options.edge_layers else None  # E_2
        if options.edge_layers:
            self.edge_context = self._lstm(words + dim, options.edge_layers)
            self.ends = nn.Linear(dim, 2 * pair_dim)  # W_h
            nn.init.normal_(self.ends.weight, std=10 / dim**0.5)
            nn.init.zeros_(self.ends.bias)
        else:
            self.label_ends = nn.Embedding(num_classes, 2 * pair_dim)
        union = UnionVector(feature_dim, dim, pooled_size, pair_dim) if options.vision else None
        self.visual = union
        self.causal = causal_branches(config, pair_dim, num_classes, num_predicates)
        if self.causal is None:
            self.relation_classifier = nn.Linear(pair_dim, num_predicates)  # W_r
            nn.init.xavier_normal_(self.relation_classifier.weight)

    def _lstm(self, input_dim: int, layers: int) -> nn.Module:
        dim = self.config.dim
        if layers == 0:
            return nn.Linear(input_dim, dim)
        if self.config.motifs.lstm == "highway":
            dropout = self.config.motifs.recurrent_dropout
            return AlternatingHighwayLSTM(input_dim, dim, layers, dropout)
        return BidirectionalLSTM(input_dim, dim, layers)

    def graph_logits(
        self, regions: Regions, pairs: CandidatePairs, unions: Tensor, random: ImageRandom | None
    ) -> GraphLogits:
        """The formulas above."""
        sizes = regions.image_sizes
        distributions = regions.class_logits.softmax(-1)
        boxes = self.box_in(to_unit_boxes(regions.boxes, sizes, regions.image_index))
        inputs = [regions.features, distributions @ self.object_words.weight, boxes]
        by_image = self._in_order(regions, distributions[:, 1:].amax(1), random)
        context = _read(self.object_context, torch.cat(inputs, 1), by_image, random)
        object_logits = self._classes(regions, context, by_image, random)
        labels = best_classes(object_logits)
        scores = object_logits.softmax(-1).gather(1, labels[:, None])[:, 0]
        by_image = self._in_order(regions, scores, random)
        ends = self._ends(labels, context, by_image, random)
        subject, object_ = ends.chunk(2, 1)
        relations = subject[pairs.pairs[:, 0]] * object_[pairs.pairs[:, 1]]
        if self.visual is None:
            visual = torch.ones_like(relations) + 0 * unions.sum()  # all weights have gradients
        else:
            visual = self.visual(regions, pairs.pairs, unions)
        predicate_logits, branches = self._predicates(relations, visual, object_logits, pairs.pairs)
        return GraphLogits(
            object_logits,
            regions.boxes,
            pairs.pairs,
            predicate_logits,
            pairs.relatedness,
            regions.image_index,
            sizes,
            object_vectors=context,
            pair_vectors=relations * visual,
            auxiliary_logits=branches,
        )

    def _predicates(
        self, relations: Tensor, visual: Tensor, object_logits: Tensor, pairs: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits of the predicates from s * t and v, and those of the branches, if there are."""
        if self.causal is not None:
            assert self.frequency_bias is not None
            bias = self.frequency_bias
            result: tuple[Tensor, tuple[Tensor, ...]]
            result = self.causal(relations, visual, bias, object_logits, pairs)
            return result
        return self.relation_classifier(relations * visual), ()

    def _in_order(self, regions: Regions, scores: Tensor, random: ImageRandom | None) -> ByImage:
        """The places of the objects in the order in which they are read."""
        boxes, index = regions.boxes, regions.image_index
        match self.config.motifs.order:
            case "leftright":
                keys = boxes[:, 0] + boxes[:, 2]
            case "size":
                keys = (boxes[:, 2:] - boxes[:, :2]).prod(1)
            case "confidence":
                keys = scores
            case "random":
                drawn = random or ImageRandom([0] * regions.num_images, boxes.device)
                keys = drawn.uniform(index)
        return ByImage(index, regions.num_images, keys.detach())

    def _classes(
        self, regions: Regions, context: Tensor, by_image: ByImage, random: ImageRandom | None
    ) -> Tensor:
        """Class logits `[N, C]` of the decoder; of detections, after the suppression."""
        if self.decoder is None:
            assert self.object_classifier is not None
            logits: Tensor = regions.class_logits + self.object_classifier(context)
        else:
            logits = self.decoder(context, regions.class_logits, by_image, random)
        if self.training or regions.given:
            return logits
        return suppressed(logits, regions.boxes, by_image, self.config.motifs.suppression_threshold)

    def _ends(
        self, labels: Tensor, context: Tensor, by_image: ByImage, random: ImageRandom | None
    ) -> Tensor:
        """`[s_i ; t_i]`: `[N, 2 pair_dim]`."""
        if self.label_words is None:
            ends: Tensor = self.label_ends(labels)
        else:
            inputs = torch.cat([self.label_words(labels), context], 1)
            ends = self.ends(_read(self.edge_context, inputs, by_image, random))
        return ends

    @torch.no_grad()
    def start_words(self, vectors: Mapping[int, Tensor]) -> None:
        """Start the label embeddings (up to three) from word vectors `[embedding_dim]` by class."""
        tables = [self.object_words]
        if self.label_words is not None:
            tables.append(self.label_words)
        if self.decoder is not None:
            tables.append(self.decoder.words)
        for table in tables:
            for label, vector in vectors.items():
                table.weight[label] = vector.to(table.weight)


class Decoder(nn.Module):
    """Classes one after another, each knowing the label before; see the module's docstring.

    Args:
        dim: width of the context and of the states.
        word_dim: width of the label embedding, whose row 0 is the start.
        num_classes: C with the reserved 0.
        dropout: of the state h, one mask for all objects of an image.

    Shapes: `context [N, dim], class_logits [N, C] -> [N, C]`.
    """

    def __init__(self, dim: int, word_dim: int, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.words = nn.Embedding(num_classes, word_dim)  # E_d
        self.cell = HighwayCell(dim + word_dim, dim, dropout)
        self.output = nn.Linear(dim, num_classes)  # W_d

    def forward(
        self,
        context: Tensor,
        class_logits: Tensor,
        by_image: ByImage,
        random: ImageRandom | None = None,
    ) -> Tensor:
        """The class logits with the decoder's added; `random` is for dropout."""
        inputs, logits = by_image.table(context), by_image.table(class_logits)
        state, mask = self.cell.start(len(inputs), inputs), self.cell.mask(len(inputs), random)
        labels = by_image.counts * 0
        decoded = []
        for column in range(inputs.shape[1]):  # each step is of all images
            joined = torch.cat([inputs[:, column], self.words(labels)], 1)
            state = self.cell.step(self.cell.inputs(joined), state, mask)
            decoded.append(logits[:, column] + self.output(state[0]))
            labels = best_classes(decoded[-1])
        return by_image.rows(torch.stack(decoded, 1))


class UnionVector(nn.Module):
    """v_k of the module's docstring.

    The masks of both boxes have (4 S - 1)² cells (27² for S = 7); two convolutions with stride make
    S² of them. The fully connected layers read a bottleneck of a quarter of the channels.

    Args:
        feature_dim: D of the union features.
        dim: width of the bottleneck, times 4.
        pooled_size: S.
        out_dim: width of the vectors.

    Shapes: `unions [M, D, S, S] -> [M, out_dim]`.
    """

    def __init__(self, feature_dim: int, dim: int, pooled_size: int, out_dim: int) -> None:
        super().__init__()
        self.mask_size = 4 * pooled_size - 1
        self.masks = nn.Sequential(
            nn.Conv2d(2, max(feature_dim // 2, 1), 7, stride=2, padding=3),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Conv2d(max(feature_dim // 2, 1), feature_dim, 3, padding=1),
            nn.ReLU(),
        )
        bottleneck = max(dim // 4, 8)
        self.bottleneck = nn.Conv2d(feature_dim, bottleneck, 1)
        hidden = bottleneck * pooled_size**2
        self.fc = mlp((hidden, out_dim, out_dim), final_activation=True)

    def forward(self, regions: Regions, pairs: Tensor, unions: Tensor) -> Tensor:
        """The vectors of `pairs [M, 2]`."""
        frames = union_boxes(regions.boxes, pairs)
        ends = [regions.boxes[pairs[:, side]] for side in (0, 1)]
        masks = torch.stack([grid_coverage(end, frames, self.mask_size) for end in ends], 1)
        maps = F.relu(self.bottleneck(unions + self.masks(masks - 0.5)))
        vectors: Tensor = self.fc(maps.flatten(1))
        return vectors


@torch.no_grad()
def suppressed(object_logits: Tensor, boxes: Tensor, by_image: ByImage, threshold: float) -> Tensor:
    """Class logits after a greedy labelling, in which near boxes do not share a class.

    As often as an image has objects: the highest probability of all (box, class) becomes the box's
    label, and that class is taken from the boxes without a label whose IoU with it is `threshold`
    or more. What was taken from a box goes to its background, so that the probability of its label
    stays what it was.

    Shapes: `[N, C], boxes [N, 4] -> [N, C]`, log-probabilities.
    """
    probabilities = object_logits.softmax(-1)
    near_boxes = by_image.table(boxes.float())
    near = torch.stack([box_iou(line, line) for line in near_boxes]) >= threshold
    scores = by_image.table(probabilities[:, 1:])
    lines = torch.arange(len(scores), device=scores.device)
    num_classes = scores.shape[2]
    taken, is_open = torch.zeros_like(scores, dtype=torch.bool), by_image.is_row.clone()
    for _ in range(scores.shape[1]):
        left = scores.masked_fill(taken, 0).masked_fill(~is_open[:, :, None], -1)
        best = left.flatten(1).argmax(1)
        box, label = best // num_classes, best % num_classes
        is_open[lines, box] = False
        taken[lines, :, label] |= near[lines, box] & is_open
    lost = torch.where(by_image.rows(taken), probabilities[:, 1:], 0)
    background = probabilities[:, :1] + lost.sum(1, keepdim=True)
    kept = torch.cat([background, probabilities[:, 1:] - lost], 1)
    return kept.clamp(min=_TINY).log().to(object_logits)


def _read(layers: nn.Module, rows: Tensor, by_image: ByImage, random: ImageRandom | None) -> Tensor:
    """Rows after an LSTM over each image, or after a linear layer."""
    if isinstance(layers, nn.Linear):
        vectors: Tensor = layers(rows)
        return vectors
    if isinstance(layers, AlternatingHighwayLSTM):
        return by_image.rows(layers(by_image.table(rows), by_image, random))
    return by_image.rows(layers(by_image.table(rows), by_image))
