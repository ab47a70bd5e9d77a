"""Metrics of graphs, detections and images.

`ranking` orders the triplets of a prediction, `matching` finds each true triple in that order,
`recall` and `pairs` count, `suite` does so for several tasks; `config.recall` has the conventions.
`resampling` has intervals and paired tests of every metric that is a function of `image_sums`.
`detection` is COCO's average precision, `images` and `generative` compare generated images with
real ones, `crop_classifier` measures how many generated objects are recognized. Functions in
`further.retrieval` score retrieved patches. The other metrics are
`torchmetrics.Metric`: `update(predictions, truths)`, `compute() -> dict`, summed over processes.
"""

from autoenc_sg.config.recall import Average, RecallConventions, Resampling, Task
from autoenc_sg.eval.base.image_sums import ImageSumMetric
from autoenc_sg.eval.base.resampling import comparisons, intervals
from autoenc_sg.eval.crop_classifier import (
    CropClassifier,
    CropTraining,
    ObjectAccuracy,
    crop_boxes,
    fit_crop_classifier,
)
from autoenc_sg.eval.detection import DetectionPrecision
from autoenc_sg.eval.further.object_quality import ObjectQuality
from autoenc_sg.eval.further.objects import object_matches
from autoenc_sg.eval.further.triplet_quality import TripletQuality
from autoenc_sg.eval.generative import (
    Features,
    GenerativeQuality,
    InceptionNetwork,
    LpipsDiversity,
)
from autoenc_sg.eval.images import ImageQuality, MeanImage
from autoenc_sg.eval.matching import MISSED, Matches, match
from autoenc_sg.eval.pairs import PairRecall
from autoenc_sg.eval.ranking import RankedTriplets, rank_triplets, with_true_objects
from autoenc_sg.eval.recall import TripletRecall, frequency_groups, seen_triplets
from autoenc_sg.eval.round_trip import rescale_predictions
from autoenc_sg.eval.suite import Ranges, RecallSuite, Value, further_names, table_names

__all__ = [
    "MISSED",
    "Average",
    "CropClassifier",
    "CropTraining",
    "DetectionPrecision",
    "Features",
    "GenerativeQuality",
    "ImageQuality",
    "ImageSumMetric",
    "InceptionNetwork",
    "LpipsDiversity",
    "Matches",
    "MeanImage",
    "ObjectAccuracy",
    "ObjectQuality",
    "PairRecall",
    "Ranges",
    "RankedTriplets",
    "RecallConventions",
    "RecallSuite",
    "Resampling",
    "Task",
    "TripletQuality",
    "TripletRecall",
    "Value",
    "comparisons",
    "crop_boxes",
    "fit_crop_classifier",
    "frequency_groups",
    "further_names",
    "intervals",
    "match",
    "object_matches",
    "rank_triplets",
    "rescale_predictions",
    "seen_triplets",
    "table_names",
    "with_true_objects",
]
