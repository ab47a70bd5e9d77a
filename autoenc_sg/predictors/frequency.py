"""The head `frequency`: predicates from the two labels alone (Zellers et al. 2018, FREQ).

    logits_ij = bias[label_i, label_j]                                   FREQ
    logits_ij = bias[label_i, label_j] + 30 [p = 0] [IoU(i, j) = 0]      FREQ+overlap

`bias` is `FrequencyBias`, the labels are the most probable classes. With FREQ+overlap pairs whose
boxes do not overlap rank behind all others, in the order of FREQ.
"""

from __future__ import annotations

from torch import Tensor

from autoenc_sg.core.boxes import paired_iou
from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.layers import ImageRandom
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.predictors.contract import RelationPredictor

_APART = 30.0  # logit of no relation of boxes that do not overlap: p(relation) is below 1e-9


class FrequencyPredictor(RelationPredictor):
    """The frequency bias without anything else; the classes are the detector's.

    Args:
        config: of the head.
        num_classes, num_predicates: C and P with the reserved 0.
    """

    def graph_logits(
        self, regions: Regions, pairs: CandidatePairs, unions: Tensor, random: ImageRandom | None
    ) -> GraphLogits:
        """No opinion on predicates, but for boxes apart: the bias is added by `forward`."""
        logits = regions.boxes.new_zeros(len(pairs), self.num_predicates)
        if self.config.frequency.overlap:
            subjects, objects = regions.boxes[pairs.pairs].unbind(1)
            logits[:, 0] = _APART * (paired_iou(subjects, objects) == 0)
        return GraphLogits(
            regions.class_logits,
            regions.boxes,
            pairs.pairs,
            logits + 0 * unions.sum(),  # every process has gradients for the same parameters
            pairs.relatedness,
            regions.image_index,
            regions.image_sizes,
        )
