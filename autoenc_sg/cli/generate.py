"""The commands `generate` and `sample`: images of the graphs of a file or of a data set."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from autoenc_sg.cli.model import split_model, usable_device
from autoenc_sg.cli.options import Command
from autoenc_sg.core.errors import bad_input
from autoenc_sg.pipelines.options import GenerateOptions, SampleOptions


@dataclass(frozen=True)
class GenerateCommand:
    """Options of `generate`.

    Attributes:
        graph: JSON file with one graph or a list of graphs. A model may stand before it: a run's
            folder, a checkpoint file, imported weights, or the name of weights that come with the
            package (see the command weights); by default photos.
        out: folder to write to.
        device: of the model, such as cpu or cuda; auto: a GPU where there is one.
        masks: also write the objects' masks as an image, and draw with the `given` masks of the
            file or with `predicted` ones; without a value, with given ones, if any.
        options: how to draw.
    """

    graph: tuple[Path, ...]
    out: Path = Path("out")
    device: str = "auto"
    masks: Literal["drawn", "given", "predicted"] | None = field(
        default=None, metadata={"const": "drawn"}
    )
    options: GenerateOptions = field(
        default=GenerateOptions(), metadata={"without": ("masks", "mask_images")}
    )


@dataclass(frozen=True)
class SampleCommand:
    """Options of `sample`.

    Attributes:
        checkpoint: a trained model or imported weights: a run's folder, or a checkpoint file.
        data: folder of the data set, if it is not where the checkpoint's configuration says.
        split: whose graphs to draw.
        out: folder to write to.
        device: of the model, such as cpu or cuda; auto: a GPU where there is one.
        options: what to draw, and how.
    """

    checkpoint: Path
    data: Path | None = None
    split: Literal["val", "test"] = "test"
    out: Path = Path("samples")
    device: str = "auto"
    options: SampleOptions = SampleOptions()  # noqa: RUF009 (frozen)


def _generate(command: GenerateCommand) -> int:
    from autoenc_sg.model.autoencoder import AutoEncoder
    from autoenc_sg.pipelines.generate import generate_images
    from autoenc_sg.visualization.progress import Reporter

    masks = None if command.masks == "drawn" else command.masks
    options = replace(command.options, masks=masks, mask_images=command.masks is not None)
    checkpoint, graphs = split_model(command.graph, "graph file")
    if len(graphs) > 1:
        raise bad_input("generate", "a model and one graph file", f"{len(graphs)} graph files")
    model = AutoEncoder.from_checkpoint(checkpoint, usable_device(command.device))
    reporter = Reporter([("generate", 1.0)])
    for path in generate_images(model, graphs[0], command.out, options, reporter):
        print(path)
    return 0


def _sample(command: SampleCommand) -> int:
    from autoenc_sg.data.open import find_format, open_dataset
    from autoenc_sg.model.autoencoder import AutoEncoder
    from autoenc_sg.pipelines.sample import write_samples
    from autoenc_sg.visualization.progress import Reporter
    from autoenc_sg.weights.checkpoint import check_vocabulary, is_decoder, read_checkpoint

    checkpoint = read_checkpoint(command.checkpoint)
    data = checkpoint.config.data
    if command.data is not None:
        if not command.data.is_dir():
            raise bad_input(command.data, "the folder of the data set", "no such folder")
        data = replace(data, root=str(command.data))
        if is_decoder(checkpoint.model):  # imported weights: trained on another data set
            data = replace(data, format=find_format(command.data))
    dataset = open_dataset(data, command.split, checkpoint.config.seed)
    check_vocabulary(checkpoint, dataset.vocabulary, command.checkpoint)
    model = AutoEncoder.from_checkpoint(command.checkpoint, usable_device(command.device))
    reporter = Reporter([("sample", 1.0)])
    print(write_samples(model, dataset, command.out, command.options, reporter))
    return 0


GENERATE = Command("generate", "images of the graphs in a file", GenerateCommand, _generate)
SAMPLE = Command("sample", "images of the graphs of a data set", SampleCommand, _sample)
