"""The train and validation split of a run: data sets given as objects, or those of its config."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from lightning.fabric import Fabric

from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import bad_input
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.data.open import open_dataset


@dataclass(frozen=True)
class Splits:
    """What a run trains on and is validated on.

    Attributes:
        train: the training images.
        open_validation: gives the validation images when a phase needs them; None: no phase is
            validated.
    """

    train: GraphDataset
    open_validation: Callable[[], GraphDataset] | None


def make_splits(
    config: RunConfig,
    fabric: Fabric,
    dataset: GraphDataset | None = None,
    val_dataset: GraphDataset | None = None,
) -> Splits:
    """The given data sets, and `config.data` for those that are not given.

    With `dataset` alone there is no validation split: `config.data` is about other images.

    Raises:
        InputError: an argument is no data set, the vocabularies differ, or `config.data` is wrong.
    """
    for name, value in (("dataset", dataset), ("val_dataset", val_dataset)):
        if value is not None and not (hasattr(value, "vocabulary") and hasattr(value, "sample")):
            expected = "a GraphDataset, such as PairsDataset(pairs, vocabulary)"
            raise bad_input(name, expected, type(value).__name__)
    open_validation: Callable[[], GraphDataset] | None = None
    if val_dataset is not None:
        open_validation = partial(_same, val_dataset)
    elif dataset is None:
        open_validation = partial(open_dataset, config.data, "val", config.seed)
    train = _open_train_split(config, fabric) if dataset is None else dataset
    if val_dataset is not None and val_dataset.vocabulary != train.vocabulary:
        raise bad_input("val_dataset", "the vocabulary of the training images", "another one")
    return Splits(train, open_validation)


def _same(dataset: GraphDataset) -> GraphDataset:
    return dataset


def _open_train_split(config: RunConfig, fabric: Fabric) -> GraphDataset:
    """Opened by the first process alone before the others: it may have to be written first."""
    if fabric.is_global_zero:
        open_dataset(config.data, "train", config.seed)
    fabric.barrier()
    return open_dataset(config.data, "train", config.seed)
