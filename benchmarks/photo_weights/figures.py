"""Every figure of the weights on the test photographs, as numbers and as pictures."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from autoenc_sg.config.recall import RecallConventions, Task
from autoenc_sg.core.images import save_image, to_pil
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.structures import GraphPrediction
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.samples import GraphDataset
from autoenc_sg.data.loading import batches
from autoenc_sg.data.relate.counts import all_pairs
from autoenc_sg.data.relate.names import NameFiles, map_names
from autoenc_sg.data.relate.propose import Proposer
from autoenc_sg.data.relate.relate import fit_prior
from autoenc_sg.eval import RecallSuite
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.visualization.boxes import draw_boxes
from autoenc_sg.visualization.composition import side_by_side
from autoenc_sg.visualization.graph import draw_graph

KS = (20, 50)
SHOWN = 12
_SIDE = 220  # pixels of a picture in the figure
_WITH_PEAK = """
import sys
from pathlib import Path
from autoenc_sg.cli.main import main
status = main(sys.argv[2:])
Path(sys.argv[1]).write_text(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
sys.exit(status)
"""


def recall_of_prior(
    model: AutoEncoder, test: GraphDataset, prior: Path, vectors: Path
) -> dict[str, float]:
    """PredCls and SGGen of the relations that another data set's graphs propose.

    The prior sees true boxes and classes (PredCls) or the model's detections (SGGen).
    """
    fitted = fit_prior(prior)
    names = model.vocabulary
    files = NameFiles(word_vectors=vectors)
    mapping = map_names(names.objects[1:], fitted.vocabulary.objects[1:], files)
    proposer = Proposer(fitted, names, mapping)
    columns = torch.tensor([proposer.vocabulary.predicates.index(n) for n in names.predicates[1:]])
    tasks: tuple[Task, ...] = ("PredCls", "SGGen")
    suite = RecallSuite(names.num_predicates, tasks, RecallConventions(KS))
    for batch in batches(test, 1):
        truth = batch.graphs.split()[0]
        with torch.no_grad():
            detected = model.graph_logits(list(batch.images)).predictions()[0]
        found = with_prior(detected, truth, proposer, columns)
        ones = replace(
            detected, boxes=truth.boxes, labels=truth.labels, scores=torch.ones(len(truth))
        )
        suite.update([with_prior(ones, truth, proposer, columns)], [truth], ["PredCls"])
        suite.update([found], [truth], ["SGGen"])
    return {
        f"{task} {name}": float(values[name])  # type: ignore[arg-type]
        for task, values in suite.compute().items()
        for name in ("R@20", "R@50", "mR@50")
    }


def with_prior(
    objects: GraphPrediction, truth: SceneGraph, proposer: Proposer, columns: Tensor
) -> GraphPrediction:
    """The same objects with all pairs and the prior's scores of the predicates `columns`."""
    empty = torch.zeros(0, 3, dtype=torch.int64)
    graph = SceneGraph(objects.labels, objects.boxes, empty, truth.image_size)
    scores = proposer.pair_scores(graph)[:, columns]
    pairs = all_pairs(len(graph))
    return GraphPrediction(objects.boxes, objects.labels, objects.scores, pairs, scores)


def pictures(model: AutoEncoder, test: GraphDataset, out: Path, with_photos: bool) -> list[str]:
    """A figure of the first test photographs with relations of humans; returns their graphs.

    A row: boxes | graph | reconstruction | the same from the true graph. Photographs are shown
    with `with_photos` alone: they are not ours to publish.
    """
    rows: list[Image.Image] = []
    texts: list[str] = []
    for place in range(len(test)):
        sample = test[place]
        if len(rows) == SHOWN or not len(sample.graph.triples):
            continue
        graph = model.parse(sample.image)
        true = model.with_appearance(
            [sample.image], SceneGraphBatch.collate([sample.graph])
        ).split()[0]
        columns = [
            (name, _square(picture))
            for name, picture in (
                ("photo", to_pil(sample.image)),
                ("objects", _boxes(sample.image, graph, model.vocabulary, with_photos)),
                ("graph", draw_graph(graph, model.vocabulary, (2 * _SIDE, _SIDE))),
                ("reconstruction", model.render(graph, seed=0)),
                ("from the true graph", model.render(true, seed=0)),
            )
            if with_photos or name != "photo"
        ]
        rows.append(side_by_side([p for _, p in columns], [name for name, _ in columns]))
        texts.append(f"{sample.image_id}: {graph.with_vocabulary(model.vocabulary)}")
    save_image(out, _stacked(rows))
    return texts


def drawn_photo(model: AutoEncoder, test: GraphDataset, folder: Path) -> Path:
    """The first test photograph in which the model finds the two objects that a picture needs."""
    samples = (test[place] for place in range(len(test)))
    return next(
        folder / f"{sample.image_id}.jpg"
        for sample in samples
        if len(model.parse(sample.image)) > 1
    )


def one_photo(weights: Path, photo: Path, out: Path, threads: int) -> dict[str, float]:
    """Seconds and GiB of `autoenc-sg reconstruct` on a photo, in a process of its own.

    The peak is the process's own `VmHWM`: `ru_maxrss` of a child counts what its parent held.
    """
    with tempfile.TemporaryDirectory() as folder:
        peak = Path(folder) / "peak"
        command = [sys.executable, "-c", _WITH_PEAK, str(peak), "reconstruct", str(weights)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        started = time.monotonic()
        subprocess.run([*command, str(photo), "--out", str(out)], check=True, env=environment)
        seconds = time.monotonic() - started
        return {"one photo, seconds": seconds, "one photo, GiB": int(peak.read_text()) / 1024**2}


def timed(load: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    load()
    return time.perf_counter() - started


def _boxes(photo: Tensor, graph: SceneGraph, names: Vocabulary, with_photos: bool) -> Image.Image:
    white = torch.full_like(photo, 1.0 if photo.is_floating_point() else 255)
    return draw_boxes(photo if with_photos else white, graph, names)


def _square(picture: Image.Image) -> Image.Image:
    factor = _SIDE / picture.height
    return picture.resize((max(1, round(picture.width * factor)), _SIDE))


def _stacked(rows: Sequence[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet
