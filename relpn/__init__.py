"""The relation proposal network: selects ordered pairs of objects that may be related."""

from autoenc_sg.relpn.losses import relatedness_loss, sample_pairs
from autoenc_sg.relpn.model import RelationProposalNetwork
from autoenc_sg.relpn.pairs import all_pairs, pair_nms, top_pairs

__all__ = [
    "RelationProposalNetwork",
    "all_pairs",
    "pair_nms",
    "relatedness_loss",
    "sample_pairs",
    "top_pairs",
]
