"""Scores of graphs, detections and pictures.

`ranking` orders the triplets of a prediction, `matching` finds each true triple in that order,
`recall` and `pairs` count, `suite` does so for several tasks; `conventions` names every choice on
the way. `detection` is COCO's, `images` torchmetrics'; `crop_classifier` says whether drawn objects
are recognized. Metrics are `torchmetrics.Metric`: `update(predictions, truths)`,
`compute() -> dict`, added up across processes.
"""

from autoenc_sg.config.recall import Average, RecallConventions, Task
from autoenc_sg.eval.crop_classifier import (
    CropClassifier,
    CropTraining,
    ObjectAccuracy,
    fit_crop_classifier,
    object_crops,
)
from autoenc_sg.eval.detection import DetectionPrecision
from autoenc_sg.eval.generative import (
    Features,
    GenerativeQuality,
    InceptionNetwork,
    LpipsDiversity,
)
from autoenc_sg.eval.images import ImageQuality, MeanImage
from autoenc_sg.eval.matching import MISSED, Matches, match
from autoenc_sg.eval.pairs import PairRecall
from autoenc_sg.eval.ranking import RankedTriplets, give_truth, rank_triplets
from autoenc_sg.eval.recall import TripletRecall, frequency_groups, seen_triplets
from autoenc_sg.eval.round_trip import in_pixels_of
from autoenc_sg.eval.suite import RecallSuite, Value, table_names

__all__ = [
    "MISSED",
    "Average",
    "CropClassifier",
    "CropTraining",
    "DetectionPrecision",
    "Features",
    "GenerativeQuality",
    "ImageQuality",
    "InceptionNetwork",
    "LpipsDiversity",
    "Matches",
    "MeanImage",
    "ObjectAccuracy",
    "PairRecall",
    "RankedTriplets",
    "RecallConventions",
    "RecallSuite",
    "Task",
    "TripletRecall",
    "Value",
    "fit_crop_classifier",
    "frequency_groups",
    "give_truth",
    "in_pixels_of",
    "match",
    "object_crops",
    "rank_triplets",
    "seen_triplets",
    "table_names",
]
