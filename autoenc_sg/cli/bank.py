"""The commands `bank build` and `bank paste`: crops of a data set, and canvases pasted of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from autoenc_sg.cli.model import usable_device
from autoenc_sg.cli.options import Command
from autoenc_sg.config.data import DataConfig, FormatName
from autoenc_sg.core.errors import bad_input
from autoenc_sg.retrieval.options import BankOptions, PasteOptions

if TYPE_CHECKING:
    from autoenc_sg.model.autoencoder import AutoEncoder
    from autoenc_sg.retrieval.features import PatchFeatures


@dataclass(frozen=True)
class BankBuildCommand:
    """Options of `bank build`.

    Attributes:
        data: folder of the data set, whose train split is cut into patches.
        out: folder of the bank.
        features: of the patches: those of a trained model's detector (a run's folder or a
            checkpoint file), which also says how the data set is read, or timm/ and a name.
        weights: file of ImageNet weights for timm/; by default an installed package's, or fetched.
        graph: a trained model whose generator's graph convolutions give each object a vector.
        format: of the data set's files, as data.format in docs/data.md; auto: by their names.
        images: folder of the images in it, as data.images.
        device: of the networks, such as cpu or cuda; auto: a GPU where there is one.
        options: sizes.
    """

    data: Path
    out: Path = field(kw_only=True)
    features: str = field(kw_only=True)
    weights: Path | None = None
    graph: Path | None = None
    format: Literal["auto", FormatName] = "auto"
    images: str = ""
    device: str = "auto"
    options: BankOptions = BankOptions()  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        if not self.data.is_dir():
            raise bad_input(self.data, "the folder of a data set", "no such folder")


@dataclass(frozen=True)
class BankPasteCommand:
    """Options of `bank paste`.

    Attributes:
        graph: JSON file with one graph or a list of graphs, with boxes.
        bank: folder of the bank.
        out: folder to write to.
        model: a trained model whose graph convolutions made the bank's vectors: each object gets
            the patch of its class with the nearest vector. Without, it gets any patch of its class.
        word_vectors: .npz with words and vectors: which class is nearest by name to one without a
            patch; by default letters decide.
        no_patch: a class without a patch gets those of the nearest class by name, or none.
        device: of the model, such as cpu or cuda; auto: a GPU where there is one.
        options: how to paste.
    """

    graph: Path
    bank: Path = field(kw_only=True)
    out: Path = Path("out")
    model: Path | None = None
    word_vectors: Path | None = None
    no_patch: Literal["nearest", "none"] = "nearest"
    device: str = "auto"
    options: PasteOptions = PasteOptions()  # noqa: RUF009 (frozen)


def _build(command: BankBuildCommand) -> int:
    from autoenc_sg.data.open import open_dataset
    from autoenc_sg.model.autoencoder import AutoEncoder
    from autoenc_sg.retrieval.build import PatchSource, build_bank
    from autoenc_sg.retrieval.features import GraphVectors
    from autoenc_sg.visualization.progress import Reporter
    from autoenc_sg.weights.checkpoint import check_vocabulary, read_checkpoint

    device = usable_device(command.device)
    features, model = _features(command, device)
    config = _data_config(command, model)
    dataset = open_dataset(config, "train", 0 if model is None else model.config.seed)
    graph = None
    if command.graph is not None:
        check_vocabulary(read_checkpoint(command.graph), dataset.vocabulary, command.graph)
        graph = GraphVectors(AutoEncoder.from_checkpoint(command.graph, device))
    reporter = Reporter([("bank", 1.0)])
    source = PatchSource(dataset, features, graph, command.options)
    with reporter.stage("bank", len(dataset)):
        bank = build_bank(command.out, source, reporter.advance)
    classes = len(set(bank.labels.tolist()) - {0})
    print(f"{len(bank)} patches of {classes} classes, {len(dataset)} photos -> {command.out}")
    return 0


def _features(command: BankBuildCommand, device: str) -> tuple[PatchFeatures, AutoEncoder | None]:
    """The features, and the model that they are of."""
    from autoenc_sg.detector.timm_backbones import PREFIX
    from autoenc_sg.model.autoencoder import AutoEncoder
    from autoenc_sg.retrieval.features import DetectorFeatures, TimmFeatures

    if command.features.startswith(PREFIX):
        weights = None if command.weights is None else str(command.weights)
        return TimmFeatures(command.features.removeprefix(PREFIX), weights, device), None
    if command.weights is not None:
        raise bad_input("--weights", f"a network {PREFIX}NAME in --features", command.features)
    model = AutoEncoder.from_checkpoint(command.features, device)
    return DetectorFeatures(model), model


def _data_config(command: BankBuildCommand, model: AutoEncoder | None) -> DataConfig:
    """How the data set is read: as the model's was, so that its train split is the same."""
    from autoenc_sg.data.open import find_format

    root, images = str(command.data), command.images
    if model is not None and command.format in ("auto", model.config.data.format):
        config = replace(model.config.data, root=root, flip=False)
        return replace(config, images=images) if images else config
    name = find_format(command.data) if command.format == "auto" else command.format
    return DataConfig(name, root, images=images, flip=False)


def _paste(command: BankPasteCommand) -> int:
    from autoenc_sg.data.relate.names import read_word_vectors
    from autoenc_sg.model.autoencoder import AutoEncoder
    from autoenc_sg.retrieval.bank import PatchBank
    from autoenc_sg.retrieval.class_names import NearestNames
    from autoenc_sg.retrieval.features import GraphVectors
    from autoenc_sg.retrieval.paste import paste_graphs
    from autoenc_sg.retrieval.search import PatchSearch
    from autoenc_sg.visualization.progress import Reporter

    vectors, names = None, None
    if command.model is not None:
        device = usable_device(command.device)
        vectors = GraphVectors(AutoEncoder.from_checkpoint(command.model, device))
    bank = PatchBank(command.bank, None if vectors is None else vectors.model.vocabulary)
    if command.no_patch == "nearest":
        file = command.word_vectors
        names = NearestNames(bank.vocabulary, None if file is None else read_word_vectors(file))
    search = PatchSearch(bank, "features" if vectors is None else "graph", names)
    reporter = Reporter([("paste", 1.0)])
    paths, notes = paste_graphs(
        command.graph, search, vectors, command.out, command.options, reporter
    )
    for note in notes:
        print(f"note: {note}")
    for path in paths:
        print(path)
    return 0


BUILD = Command(
    "build",
    "crops of a data set's train split, with features",
    BankBuildCommand,
    _build,
    "A bank that was interrupted goes on where it was.",
)
PASTE = Command(
    "paste",
    "pictures of the graphs in a file, pasted of a bank's crops",
    BankPasteCommand,
    _paste,
)
