"""Scores of the pictures of one pass: drawn from the predicted and from the true graphs.

How near they are to the photo (L1, PSNR, SSIM, beside the mean picture of the train split), how
real (FID, IS) and how varied (LPIPS diversity), whether their objects are recognized, and whether
the graph that was drawn is found in them again (round trip).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from autoenc_sg.core.graph_logits import GraphLogits
from autoenc_sg.core.images import target_images
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.data.base.samples import Batch, GraphDataset
from autoenc_sg.data.loading import batches
from autoenc_sg.eval import (
    GenerativeQuality,
    ImageQuality,
    InceptionNetwork,
    LpipsDiversity,
    MeanImage,
    RecallSuite,
    in_pixels_of,
)
from autoenc_sg.eval.crop_classifier import ObjectAccuracy
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.scoring.crop_dataset import crop_classifier_of
from autoenc_sg.scoring.options import EvaluationOptions
from autoenc_sg.weights.checkpoint import read_weights

DRAWN = ("predicted graph", "true graph")
REAL, MEAN = "real picture", "mean image"
MEAN_IMAGE_SAMPLES = 5000
OTHER_NOISE = 1 << 31  # added to an image's seed for the second picture of its graph; on a CPU
# generators look at the low 32 bits alone


class PictureScores:
    """All scores of pictures that the options ask for.

    Args:
        model: draws them.
        train: training images, for the mean picture and the classifier of crops.
        options: what to measure.
    """

    def __init__(self, model: AutoEncoder, train: GraphDataset, options: EvaluationOptions) -> None:
        self.size = model.config.generator.image_size
        self.inception: InceptionNetwork | None = None
        self.real_like: dict[str, GenerativeQuality] = {}
        if options.inception is not None:
            weights = read_weights(options.inception)
            self.inception = InceptionNetwork(weights, options.inception.name).to(model.device)
            self.real_like = {row: GenerativeQuality() for row in DRAWN}
        self.varied: dict[str, LpipsDiversity] = {}
        if options.lpips is not None:
            self.varied = {row: _diversity(options.lpips) for row in DRAWN}
        classes = model.vocabulary.num_objects
        self.mean_image = mean_image(train, self.size)
        self.near = {row: ImageQuality() for row in (*DRAWN, MEAN)}
        self.objects: dict[str, ObjectAccuracy] = {}
        if options.object_accuracy:
            judge = crop_classifier_of(train, self.size)
            self.objects = {row: ObjectAccuracy(judge, classes) for row in (*DRAWN, REAL)}
        self.round_trip: dict[str, RecallSuite] = {}
        if options.round_trip:
            predicates = model.vocabulary.num_predicates
            self.round_trip = {
                row: RecallSuite(predicates, ("SGGen",), options.conventions) for row in DRAWN
            }

    def update(
        self, model: AutoEncoder, batch: Batch, logits: GraphLogits, truths: Sequence[SceneGraph]
    ) -> None:
        """Draw and score a batch; the noise of an image follows from its id."""
        decode = model.config.decode
        found = logits.decode(decode.object_threshold, decode.edge_threshold).split()
        graphs = {"predicted graph": [g.to("cpu") for g in found], "true graph": list(truths)}
        photos = target_images(batch.images, self.size).clamp(0, 1)
        seeds = list(batch.image_ids)
        self.near[MEAN].update(self.mean_image.expand_as(photos), photos)
        if self.objects:
            self.objects[REAL].update(photos, batch.graphs)
        real = None if self.inception is None else self.inception(photos.to(model.device))
        for row, own in graphs.items():
            drawn = model.render_batch(own, seeds).cpu()
            self.near[row].update(drawn, photos)
            if self.objects:
                self.objects[row].update(drawn, SceneGraphBatch.collate(own))
            if self.round_trip:
                self._parse_again(row, model, drawn, own)
            if self.inception is not None and real is not None:
                self.real_like[row].update(self.inception(drawn.to(model.device)), real)
            if self.varied:
                others = model.render_batch(own, [seed + OTHER_NOISE for seed in seeds])
                self.varied[row].update(drawn, others.cpu())

    def _parse_again(
        self, row: str, model: AutoEncoder, drawn: Tensor, graphs: Sequence[SceneGraph]
    ) -> None:
        found = [p.to("cpu") for p in model.graph_logits(list(drawn)).predictions()]
        size = (drawn.shape[2], drawn.shape[3])
        self.round_trip[row].update(in_pixels_of(found, graphs, size), graphs)

    def numbers(self) -> dict[str, dict[str, float]]:
        """Of each kind of picture, by name."""
        rows: dict[str, dict[str, float]] = {}
        for metrics in (self.near, self.objects, self.real_like, self.varied):
            for row, metric in metrics.items():  # type: ignore[attr-defined]
                values = {name: float(value) for name, value in metric.compute().items()}
                rows.setdefault(row, {}).update(values)
        return rows

    def round_trips(self) -> dict[str, dict[str, float]]:
        """Recall of the graph in the graph of its picture, by what was drawn and name."""
        return {
            row: {n: v for n, v in suite.compute()["SGGen"].items() if isinstance(v, float)}
            for row, suite in self.round_trip.items()
        }

    def networks(self) -> Mapping[str, str]:
        """The network behind each number that depends on one."""
        names: dict[str, str] = {}
        if self.inception is not None:
            names |= {"FID": self.inception.name, "IS": self.inception.name}
        if self.varied:
            names["LPIPS diversity"] = self.varied[DRAWN[0]].name
        if self.objects:
            names["object accuracy"] = "crop classifier trained on the train split's objects"
        return names


def mean_image(dataset: GraphDataset, size: int) -> Tensor:
    """The mean picture `[3, size, size]` of a data set (of its first 5,000 images)."""
    mean = MeanImage((size, size))
    for batch in batches(dataset, 32, MEAN_IMAGE_SAMPLES):
        mean.update(target_images(batch.images, size).clamp(0, 1))
    value: Tensor = mean.compute()
    return value


def _diversity(path: Path) -> LpipsDiversity:
    return LpipsDiversity(read_weights(path), path.name)
