"""Validation that runs the detector."""

from __future__ import annotations

from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.region_reader import DetectorRegions
from autoenc_sg.training.validation import Validation


def live_validation(model: AutoEncoder, dataset: GraphDataset) -> Validation:
    """A data set to validate on, with regions of the model's detector as it is."""
    return Validation(dataset, DetectorRegions(model.detector))
