"""`autoenc-sg data relate`: a data set of boxes to one with pseudo-relations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.atomic_files import new_folder
from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.samples import Split
from autoenc_sg.data.open import find_format, open_dataset
from autoenc_sg.data.relate.names import NameFiles, NameMapping, check_predicates, map_names
from autoenc_sg.data.relate.prior import PriorOptions, RelationPrior
from autoenc_sg.data.relate.propose import Proposer, RelateOptions, without_unused_predicates
from autoenc_sg.data.relate.sources import BoxesSource, open_boxes
from autoenc_sg.data.vg150.dataset import VG150Source
from autoenc_sg.data.vg150.files import IMAGE_FOLDERS, TRAIN, read_annotations
from autoenc_sg.data.vg150.from_raw.names import read_aliases
from autoenc_sg.visualization.progress import Reporter
from autoenc_sg.visualization.tables import Cell, Table

STAGES = (("fit the prior", 1.0), ("relate", 1.0))
_MADE = ("coco", "coco_stuff", "scenes")  # formats whose relations no human annotated
_SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Related:
    """What `relate` has written.

    Attributes:
        mapping: of the classes to the prior's.
        vocabulary: of the data set.
        images: how many.
        human, pseudo: `[P]`, relations of each predicate.
    """

    mapping: NameMapping
    vocabulary: Vocabulary
    images: int
    human: Tensor
    pseudo: Tensor

    def table(self) -> Table:
        """Relations of humans and pseudo-relations by predicate, the commonest first."""
        order = sorted(
            range(1, len(self.human)), key=lambda i: (-int(self.human[i] + self.pseudo[i]), i)
        )
        rows: list[list[Cell]] = [
            [self.vocabulary.predicates[i], int(self.human[i]), int(self.pseudo[i])] for i in order
        ]
        note = (
            f"{self.images:,} images, {int(self.human.sum()):,} relations of humans, "
            f"{int(self.pseudo.sum()):,} pseudo-relations (train split)"
        )
        return Table("Relations", ["predicate", "human", "pseudo"], rows, note)


def relate(
    boxes: Path,
    prior: Path | RelationPrior,
    out: Path,
    options: RelateOptions | None = None,
    files: NameFiles | None = None,
    images: Path | None = None,
    train_fraction: float = 0.7,
    link: bool = False,
) -> Related:
    """Write VG150 files with the relations of `boxes` and pseudo-relations, atomically.

    Relations of humans stay as they are, with their ids. The train split alone gets
    pseudo-relations; validation and test are scored against humans' anyway.

    Args:
        boxes: VG150 files, COCO's instances.json or JSON Lines; see `sources.open_boxes`.
        prior: a fitted one, or the folder of a data set with relations (`fit_prior`).
        out: the folder to make; it may exist if it is empty.
        options: which pseudo-relations; None: the defaults.
        files: for the names; None: no files.
        images: the photos of `boxes`, see `open_boxes`.
        train_fraction: as in `open_boxes`.
        link: link photos instead of copying them, where the file system can.

    Raises:
        InputError: bad input, in one line.
    """
    options, files = options or RelateOptions(), files or NameFiles()
    source = open_boxes(boxes, images, train_fraction)
    reporter = Reporter(STAGES)
    with new_folder(out) as folder:
        proposer, mapping = _proposer(source.vocabulary, prior, options, files, reporter)
        with reporter.stage(STAGES[1][0], len(source.image_ids)):
            graphs = _propose_all(source, proposer, folder / IMAGE_FOLDERS[0], link, reporter)
        first = source.vocabulary.num_predicates
        graphs, vocabulary = without_unused_predicates(graphs, proposer.vocabulary, first)
        if vocabulary.num_predicates < 2:
            expected = f"relations of {options.least_probability:g} or more (--least-probability)"
            raise bad_input(boxes, expected, "none in the train split")
        source.write(folder, graphs, vocabulary)
    return Related(mapping, vocabulary, len(graphs), *_counts(graphs, vocabulary))


def _proposer(
    vocabulary: Vocabulary,
    prior: Path | RelationPrior,
    options: RelateOptions,
    files: NameFiles,
    reporter: Reporter,
) -> tuple[Proposer, NameMapping]:
    """For graphs of `vocabulary`; what can be wrong is looked at before the prior is fitted."""
    aliases = read_aliases(files.aliases) if files.aliases else {}
    with reporter.stage(STAGES[0][0]):
        fitted = prior if isinstance(prior, RelationPrior) else None
        graphs, names = _prior_graphs(prior) if isinstance(prior, Path) else ([], prior.vocabulary)
        mapping = map_names(vocabulary.objects[1:], names.objects[1:], files)
        check_predicates(options.predicates, names.predicates[1:])
        fitted = fitted or RelationPrior.fit(graphs, names, PriorOptions(seed=options.seed))
    return Proposer(fitted, vocabulary, mapping, options, aliases), mapping


def _propose_all(
    source: BoxesSource, proposer: Proposer, photos: Path, link: bool, reporter: Reporter
) -> list[SceneGraph]:
    """The graphs of all images, with pseudo-relations in the train split; photos are copied."""
    photos.mkdir()
    graphs = []
    for place, image_id in enumerate(source.image_ids):
        graph = source.graph(place, photos / str(image_id), link)
        if source.splits[place] == TRAIN:
            graph = proposer.propose(graph, source.captions[place])
        graphs.append(graph)
        reporter.advance()
    return graphs


def fit_prior(root: Path, seed: int = 0) -> RelationPrior:
    """A prior of all relations of humans in a data set; no photo is read.

    Raises:
        InputError: the folder has no data set, or one without relations of humans.
    """
    graphs, vocabulary = _prior_graphs(root)
    return RelationPrior.fit(graphs, vocabulary, PriorOptions(seed=seed))


def _prior_graphs(root: Path) -> tuple[list[SceneGraph], Vocabulary]:
    """The graphs with relations, of all splits; there are some."""
    graphs, vocabulary = _all_graphs(root)
    graphs = [graph for graph in graphs if len(graph.triples)]
    if not graphs:
        raise bad_input(root, "a prior with relations of humans", "a data set without any")
    return graphs, vocabulary


def _all_graphs(root: Path) -> tuple[list[SceneGraph], Vocabulary]:
    if not root.is_dir():
        raise bad_input(root, "the folder of a data set with relations (the prior)", "no folder")
    name = find_format(root)
    if name in _MADE:
        raise bad_input(root, "a prior with relations of humans", f"format {name}, without any")
    if name == "vg150":
        data = read_annotations(root)
        rows = (data.rel_ranges[:, 1] > data.rel_ranges[:, 0]).nonzero()[:, 0]
        source = VG150Source(data, rows, ~data.is_pseudo, "test")
        return [source.annotated(row) for row in range(len(rows))], data.vocabulary
    splits = [open_dataset(DataConfig(name, str(root)), split) for split in _SPLITS]
    graphs = [part.annotated(index) for part in splits for index in range(len(part))]
    return graphs, splits[0].vocabulary


def _counts(graphs: Sequence[SceneGraph], vocabulary: Vocabulary) -> tuple[Tensor, Tensor]:
    human = torch.zeros(vocabulary.num_predicates, dtype=torch.int64)
    pseudo = human.clone()
    for graph in graphs:
        is_human = torch.ones(len(graph.triples), dtype=torch.bool)
        if graph.triple_scores is not None:
            is_human = graph.triple_scores.isnan()
        human += graph.triples[is_human, 1].bincount(minlength=len(human))
        pseudo += graph.triples[~is_human, 1].bincount(minlength=len(pseudo))
    return human, pseudo
