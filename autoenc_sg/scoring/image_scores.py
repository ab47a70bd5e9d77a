"""Scores of generated images, drawn from the predicted and from the true graphs.

Similarity to the photo (L1, PSNR, SSIM, beside the mean image of the train split), realism (FID,
IS), diversity (LPIPS), accuracy of a classifier on the drawn objects, and recall of the drawn graph
in the graph that is parsed from the generated image (round trip).
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
    rescale_predictions,
)
from autoenc_sg.eval.crop_classifier import ObjectAccuracy
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.scoring.crop_dataset import crop_classifier_of
from autoenc_sg.scoring.options import EvaluationOptions
from autoenc_sg.weights.state_dict import read_weights

DRAWN = ("predicted graph", "true graph")
REAL, MEAN = "real picture", "mean image"
MEAN_IMAGE_SAMPLES = 5000
OTHER_NOISE = 1 << 31  # added to an image's seed for the second image of its graph: a bit that
# random generators on a CPU use, too (they use the low 32 bits alone)


class ImageScores:
    """All scores of generated images that the options ask for.

    Args:
        model: generates the images.
        train: training images, for the mean image and the classifier of crops.
        options: what to measure.
    """

    def __init__(self, model: AutoEncoder, train: GraphDataset, options: EvaluationOptions) -> None:
        self.size = model.config.generator.image_size
        self.inception: InceptionNetwork | None = None
        self.realism: dict[str, GenerativeQuality] = {}
        if options.inception is not None:
            weights = read_weights(options.inception)
            self.inception = InceptionNetwork(weights, options.inception.name).to(model.device)
            self.realism = {row: GenerativeQuality() for row in DRAWN}
        self.diversity: dict[str, LpipsDiversity] = {}
        if options.lpips is not None:
            self.diversity = {row: _diversity(options.lpips) for row in DRAWN}
        classes = model.vocabulary.num_objects
        self.mean_image = mean_image(train, self.size)
        self.similarity = {row: ImageQuality() for row in (*DRAWN, MEAN)}
        self.objects: dict[str, ObjectAccuracy] = {}
        if options.object_accuracy:
            classifier = crop_classifier_of(train, self.size)
            self.objects = {row: ObjectAccuracy(classifier, classes) for row in (*DRAWN, REAL)}
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
        predicted = logits.decode(decode.object_threshold, decode.edge_threshold).split()
        graphs = {"predicted graph": [g.to("cpu") for g in predicted], "true graph": list(truths)}
        photos = target_images(batch.images, self.size).clamp(0, 1)
        seeds = list(batch.image_ids)
        self.similarity[MEAN].update(self.mean_image.expand_as(photos), photos)
        if self.objects:
            self.objects[REAL].update(photos, batch.graphs)
        real = None if self.inception is None else self.inception(photos.to(model.device))
        for row, row_graphs in graphs.items():
            drawn = model.render_batch(row_graphs, seeds).cpu()
            self.similarity[row].update(drawn, photos)
            if self.objects:
                self.objects[row].update(drawn, SceneGraphBatch.collate(row_graphs))
            if self.round_trip:
                self._score_round_trip(row, model, drawn, row_graphs)
            if self.inception is not None and real is not None:
                self.realism[row].update(self.inception(drawn.to(model.device)), real)
            if self.diversity:
                others = model.render_batch(row_graphs, [seed + OTHER_NOISE for seed in seeds])
                self.diversity[row].update(drawn, others.cpu())

    def _score_round_trip(
        self, row: str, model: AutoEncoder, drawn: Tensor, graphs: Sequence[SceneGraph]
    ) -> None:
        parsed = [p.to("cpu") for p in model.graph_logits(list(drawn)).predictions()]
        size = (drawn.shape[2], drawn.shape[3])
        self.round_trip[row].update(rescale_predictions(parsed, graphs, size), graphs)

    def numbers(self) -> dict[str, dict[str, float]]:
        """By row (`predicted graph`, `true graph`, `mean image`, `real picture`) and name."""
        rows: dict[str, dict[str, float]] = {}
        for metrics in (self.similarity, self.objects, self.realism, self.diversity):
            for row, metric in metrics.items():  # type: ignore[attr-defined]
                values = {name: float(value) for name, value in metric.compute().items()}
                rows.setdefault(row, {}).update(values)
        return rows

    def round_trips(self) -> dict[str, dict[str, float]]:
        """Recall of the drawn graph in the parsed one, by row and name."""
        return {
            row: {n: v for n, v in suite.compute()["SGGen"].items() if isinstance(v, float)}
            for row, suite in self.round_trip.items()
        }

    def networks(self) -> Mapping[str, str]:
        """The network that measured a number: name of the number -> name of the network."""
        names: dict[str, str] = {}
        if self.inception is not None:
            names |= {"FID": self.inception.name, "IS": self.inception.name}
        if self.diversity:
            names["LPIPS diversity"] = self.diversity[DRAWN[0]].name
        if self.objects:
            names["object accuracy"] = "crop classifier trained on the train split's objects"
        return names


def mean_image(dataset: GraphDataset, size: int) -> Tensor:
    """The mean image `[3, size, size]` of a data set (of its first 5,000 images)."""
    mean = MeanImage((size, size))
    for batch in batches(dataset, 32, MEAN_IMAGE_SAMPLES):
        mean.update(target_images(batch.images, size).clamp(0, 1))
    value: Tensor = mean.compute()
    return value


def _diversity(path: Path) -> LpipsDiversity:
    return LpipsDiversity(read_weights(path), path.name)
