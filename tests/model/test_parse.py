"""`parse` of photos in every form, with given objects, and in lists; checks of `render`'s seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.images import as_tensor
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.open import open_dataset
from autoenc_sg.detector import Detections
from autoenc_sg.model import AutoEncoder
from tests.support.tiny import tiny_config

BOXES = [[2.0, 4.0, 30.0, 40.0], [20.0, 20.0, 60.0, 60.0], [0.0, 50.0, 64.0, 64.0]]


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> AutoEncoder:
    return AutoEncoder.from_checkpoint(tiny_run / "run" / "checkpoint.safetensors")


@pytest.fixture(scope="module")
def photos(tiny_run: Path) -> list[Image.Image]:
    dataset = open_dataset(tiny_config(tiny_run).data, "test")
    return [Image.fromarray(dataset[i].image.permute(1, 2, 0).numpy()) for i in range(4)]


def same_graphs(a: SceneGraph, b: SceneGraph) -> None:
    assert torch.equal(a.labels, b.labels)
    assert torch.equal(a.triples, b.triples)
    assert_close(a.boxes, b.boxes, atol=1e-3, rtol=1e-4)


def test_a_list_of_mixed_forms_and_sizes_equals_one_by_one(
    model: AutoEncoder, photos: list[Image.Image], tmp_path: Path
) -> None:
    photos[0].save(tmp_path / "photo.png")
    forms: list[Any] = [
        tmp_path / "photo.png",
        str(tmp_path / "photo.png"),
        photos[1].resize((90, 50)),
        np.asarray(photos[2]),
        torch.from_numpy(np.array(photos[3])).permute(2, 0, 1),
    ]
    graphs = model.parse(forms, batch_size=2)
    assert [graph.image_size for graph in graphs] == [(64, 64)] * 2 + [(50, 90)] + [(64, 64)] * 2
    for form, graph in zip(forms, graphs):
        same_graphs(model.parse(form), graph)
        assert graph.vocabulary == model.vocabulary
        assert graph.boxes.dtype == torch.float32
    assert model.parse([]) == []
    assert model.parse(()) == []


def test_no_more_than_a_batch_is_seen_at_a_time(
    model: AutoEncoder, photos: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    encode = model.detector.encode
    monkeypatch.setattr(
        model.detector, "encode", lambda images: (sizes.append(len(images)), encode(images))[1]
    )
    model.parse([photos[0]] * 5, batch_size=2)
    assert sizes == [2, 2, 1]


def test_a_pil_image_is_turned_upright_as_its_file_is(
    model: AutoEncoder, photos: list[Image.Image], tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    photos[0].resize((80, 60)).save(tmp_path / "phone.png", exif=exif)
    with Image.open(tmp_path / "phone.png") as opened:
        from_pil = model.parse(opened)
    assert from_pil.image_size == (80, 60)
    same_graphs(from_pil, model.parse(tmp_path / "phone.png"))


def test_given_boxes_stay_as_they_are(model: AutoEncoder, photos: list[Image.Image]) -> None:
    graph = model.parse(photos[0], boxes=BOXES, edge_threshold=0.0)
    assert_close(graph.boxes, torch.tensor(BOXES), rtol=0, atol=0)
    assert len(graph.triples) > 0
    assert graph.object_scores is not None
    assert bool((graph.object_scores < 1).all())
    for form in (np.array(BOXES), torch.tensor(BOXES, dtype=torch.float64), tuple(BOXES)):
        same_graphs(model.parse(photos[0], boxes=form, edge_threshold=0.0), graph)
    outside = [[-5.0, 4, 30, 40], *BOXES[1:]]
    clipped = model.parse(photos[0], boxes=outside, edge_threshold=0.0)
    assert_close(clipped.boxes[0], torch.tensor([0.0, 4, 30, 40]))


def test_given_classes_by_name_or_id_are_certain(
    model: AutoEncoder, photos: list[Image.Image]
) -> None:
    names = [model.vocabulary.objects[i] for i in (3, 7, 1)]
    graph = model.parse(photos[0], boxes=BOXES, labels=names, edge_threshold=0.0)
    assert graph.objects == tuple(names)
    assert_close(graph.object_scores, torch.ones(3))
    for labels in ([3, 7, 1], torch.tensor([3, 7, 1]), np.array([3, 7, 1]), [3, names[1], 1]):
        same_graphs(model.parse(photos[0], BOXES, labels, edge_threshold=0.0), graph)


def test_given_classes_matter_to_the_relations(
    model: AutoEncoder, photos: list[Image.Image]
) -> None:
    a = model.parse(photos[0], BOXES, [1, 2, 3], edge_threshold=0.0)
    b = model.parse(photos[0], BOXES, [4, 5, 6], edge_threshold=0.0)
    assert a.triple_scores is not None
    assert b.triple_scores is not None
    assert len(a.triples) != len(b.triples) or not torch.equal(a.triple_scores, b.triple_scores)


def test_given_boxes_of_a_list_equal_one_by_one(
    model: AutoEncoder, photos: list[Image.Image]
) -> None:
    boxes: list[Any] = [BOXES, [], BOXES[:1], BOXES[1:]]
    labels: list[Any] = [[1, 2, 3], [], [4], [5, 6]]
    graphs = model.parse(photos, boxes, labels, batch_size=3, edge_threshold=0.0)
    assert [len(graph) for graph in graphs] == [3, 0, 1, 2]
    for i, graph in enumerate(graphs):
        same_graphs(model.parse(photos[i], boxes[i], labels[i], edge_threshold=0.0), graph)


def test_thresholds_of_a_call_are_obeyed(model: AutoEncoder, photos: list[Image.Image]) -> None:
    everything = model.parse(photos[0])
    assert everything.object_scores is not None
    cut = float(everything.object_scores.sort().values[len(everything) // 2])
    assert len(everything) > len(model.parse(photos[0], object_threshold=cut)) > 0
    assert len(model.parse(photos[0], object_threshold=1.0)) == 0
    assert len(model.parse(photos[0], edge_threshold=1.0).triples) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, p: m.parse(3), "image: expected a path, a PIL image, an array or a tensor, got"),
        (lambda m, p: m.parse([p, "none.jpg"]), "none.jpg: expected an image file"),
        (lambda m, p: m.parse(p, labels=["x"]), "labels: expected boxes beside them, got no boxes"),
        (lambda m, p: m.parse(p, [[0, 0, 1]]), r"boxes: expected shape \[n, 4\]"),
        (lambda m, p: m.parse(p, [["a", 0, 1, 2]]), "boxes: expected numbers"),
        (lambda m, p: m.parse(p, [[0, 0, 9, 9], [70, 0, 80, 9]]), r"boxes\[1\]: expected finite"),
        (lambda m, p: m.parse(p, [[0, 0, float("nan"), 9]]), r"boxes\[0\]: expected finite"),
        (lambda m, p: m.parse(p, [[9, 9, 0, 0]]), r"boxes\[0\]: expected finite"),
        (lambda m, p: m.parse(p, BOXES, [1]), "labels: expected one for each of 3 boxes, got 1"),
        (lambda m, p: m.parse(p, BOXES, [1, 2, 99]), r"labels\[2\]: expected a class name, or an"),
        (lambda m, p: m.parse(p, BOXES, [1, 0, 2]), r"labels\[1\]: expected a class name, or an"),
        (lambda m, p: m.parse(p, BOXES, [1, 2, 1.5]), r"labels\[2\]: expected a class name"),
        (lambda m, p: m.parse(p, BOXES, ["person", 2, "dgo"]), r"labels\[2\]: object 'dgo'"),
        (lambda m, p: m.parse([p, p], [BOXES]), "boxes: expected those of each of 2 photos, got 1"),
        (lambda m, p: m.parse(p, batch_size=0), "batch_size: expected 1 or more, got 0"),
        (lambda m, p: m.parse(p, object_threshold=2), r"object_threshold: expected a number in"),
        (lambda m, p: m.parse(p, edge_threshold=float("nan")), "edge_threshold: expected a number"),
    ],
)
def test_bad_calls_are_input_errors(
    model: AutoEncoder, photos: list[Image.Image], call: Callable[..., Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        call(model, photos[0])


def test_seeds_are_one_for_all_or_one_a_graph(
    model: AutoEncoder, photos: list[Image.Image]
) -> None:
    graphs = model.parse(photos[:2])
    assert torch.equal(model.render_batch(graphs, 5), model.render_batch(graphs, [5, 5]))
    assert not torch.equal(model.render_batch(graphs, 5), model.render_batch(graphs, [5, 6]))
    assert model.render_batch([], 5).shape == (0, 3, 32, 32)
    for seeds, message in (
        ([1], "seeds: expected one number, or one for each of 2 graphs, got 1"),
        (-1, r"seed: expected a whole number in 0..2\^63 - 1, got -1"),
        (2**63, "seed: expected a whole number"),
        (1.5, "seed: expected a whole number"),
        ([True, 1], "seed: expected a whole number"),
    ):
        with pytest.raises(InputError, match=message):
            model.render_batch(graphs, seeds)  # type: ignore[arg-type]


def test_graphs_without_boxes_are_drawn_with_predicted_ones(
    model: AutoEncoder, photos: list[Image.Image]
) -> None:
    placed = model.parse(photos[0], BOXES, ["person", "tree", "dog"])
    bare = SceneGraph.empty((64, 64), model.vocabulary).add("person").add("dog")
    pictures = model.render_batch([placed, bare, placed], [3, 4, 5])
    assert_close(pictures[0], model.render_batch([placed], 3, predict_boxes=False)[0])
    assert_close(pictures[1], model.render_batch([bare], 4, predict_boxes=True)[0])
    assert_close(pictures[2], model.render_batch([placed], 5)[0])
    assert not torch.equal(pictures[1], model.render_batch([bare], 4, predict_boxes=False)[0])


def test_a_graph_of_other_ids_is_drawn_by_its_names(
    model: AutoEncoder, photos: list[Image.Image]
) -> None:
    graph = model.parse(photos[0], BOXES, ["person", "tree", "dog"], edge_threshold=0.0)
    words = model.vocabulary
    shuffled = Vocabulary.from_names(words.objects[:0:-1], words.predicates[:0:-1])
    other = SceneGraph(
        torch.tensor([shuffled.object_id(name) for name in graph.objects]),
        graph.boxes,
        torch.tensor([[s, shuffled.predicate_id(p), o] for s, p, o in graph.relations]),
        graph.image_size,
        vocabulary=shuffled,
    )
    assert not torch.equal(other.labels, graph.labels)
    assert np.array_equal(np.asarray(model.render(other)), np.asarray(model.render(graph)))
    foreign = SceneGraph.empty((9, 9), Vocabulary.from_names(["zebra"], [])).add(1, (0, 0, 9, 9))
    with pytest.raises(InputError, match="object 'zebra': expected one of"):
        model.render(foreign)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_models_and_autocast_parse_and_render(
    tiny_run: Path, photos: list[Image.Image], dtype: torch.dtype
) -> None:
    model = AutoEncoder.from_checkpoint(tiny_run / "run" / "checkpoint.safetensors")
    graph = model.parse(photos[0], BOXES, [1, 2, 3], edge_threshold=0.0)
    picture = model.render_batch([graph], 3)
    with torch.autocast("cpu", dtype):
        model.parse(photos[0])
        autocast = model.render_batch([graph], 3)
    half = model.to(dtype)
    parsed = half.parse(photos[0], BOXES, [1, 2, 3], edge_threshold=0.0)
    detected = half.parse(photos[0])
    assert (parsed.boxes.dtype, detected.boxes.dtype) == (torch.float32, torch.float32)
    assert parsed.objects == graph.objects
    for other in (autocast, half.render_batch([graph], 3)):
        assert other.dtype == torch.float32
        assert float((other - picture).abs().mean()) < 0.02


@pytest.mark.gpu
def test_the_gpu_parses_and_renders_as_the_cpu_does(
    tiny_run: Path, photos: list[Image.Image]
) -> None:
    model = AutoEncoder.from_checkpoint(tiny_run / "run" / "checkpoint.safetensors")
    graph = model.parse(photos[0], BOXES, edge_threshold=0.0)
    picture = model.render_batch([graph], 3)
    model.to("cuda")
    assert_close(model.parse(photos[0], BOXES, edge_threshold=0.0).boxes, graph.boxes)
    for other in (graph, graph.to("cuda")):
        assert_close(model.render_batch([other], 3).cpu(), picture, atol=1e-2, rtol=0)


def test_detected_objects_that_repeat_a_better_one_are_left_out(
    model: AutoEncoder, photos: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = torch.tensor([BOXES[0], BOXES[1], BOXES[0]])
    found = Detections(twice, torch.ones(3).long(), torch.ones(3), torch.zeros(3).long())
    monkeypatch.setattr(model.detector, "detect", lambda maps: found)
    assert len(model.parse(photos[0], object_threshold=0.0)) == 2
    assert len(model.graph_logits([as_tensor(photos[0])]).predictions()[0].boxes) == 2
    keeps_all = replace(model.config.decode, nms_threshold=1.0)
    monkeypatch.setattr(model, "config", replace(model.config, decode=keeps_all))
    assert len(model.parse(photos[0], object_threshold=0.0)) == 3
    given = model.parse(photos[0], [BOXES[0], BOXES[0]])  # given boxes are kept as they are
    assert len(given) == 2


def test_given_boxes_of_a_pixel_are_kept_whatever_float32_makes_of_them(
    model: AutoEncoder, photos: list[Image.Image]
) -> None:
    left = np.random.default_rng(0).uniform(0, 60, 100)
    boxes = np.stack([left, np.ones(100), left + 1, np.full(100, 2.0)], 1)
    boxes = boxes[boxes[:, 2] - boxes[:, 0] >= 1]
    narrow = boxes.astype(np.float32)
    assert (narrow[:, 2] - narrow[:, 0] < 1).any()
    assert len(model.parse(photos[0], boxes)) == len(boxes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"boxes": [[0, 0, 10**400, 5]]}, "boxes: expected numbers"),
        ({"boxes": BOXES, "labels": 5}, "labels: expected a list of class names or ids"),
        ({"boxes": BOXES, "labels": "person"}, "labels: expected a list of class names"),
        ({"boxes": BOXES, "labels": {1, 2, 3}}, "labels: expected a list of class names"),
        ({"boxes": BOXES, "labels": torch.tensor(1)}, "labels: expected a list of class names"),
        ({"batch_size": "8"}, "batch_size: expected a whole number of 1 or more, got '8'"),
        ({"batch_size": 2.5}, "batch_size: expected a whole number"),
        ({"object_threshold": "x"}, "object_threshold: expected a number in 0..1, got 'x'"),
        ({"edge_threshold": float("nan")}, "edge_threshold: expected a number in 0..1, got nan"),
        ({"edge_threshold": 1.5}, "edge_threshold: expected a number in 0..1, got 1.5"),
    ],
)
def test_wrong_arguments_of_parse_are_one_line(
    model: AutoEncoder, photos: list[Image.Image], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        model.parse(photos[0], **arguments)


def test_one_value_for_a_list_of_photos_is_refused(
    model: AutoEncoder, photos: list[Image.Image]
) -> None:
    with pytest.raises(InputError, match="boxes: expected a list of those of each of 1 photos"):
        model.parse([photos[0]], 5)  # type: ignore[call-overload]
    with pytest.raises(InputError, match="labels: expected a list of class names or ids"):
        model.parse([photos[0]], [BOXES], [1])  # type: ignore[list-item]


def test_ids_of_numpy_and_pytorch_are_classes(
    model: AutoEncoder, photos: list[Image.Image]
) -> None:
    labels: list[Any] = [np.int64(1), torch.tensor(2), 3]
    assert model.parse(photos[0], BOXES, labels).labels.tolist() == [1, 2, 3]


def test_a_pil_image_that_cannot_be_read_is_one_line(
    model: AutoEncoder, photos: list[Image.Image], tmp_path: Path
) -> None:
    photos[0].save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(data[: len(data) // 2])
    with (
        Image.open(tmp_path / "half.png") as half,
        pytest.raises(InputError, match="image: expected a whole PIL image"),
    ):
        model.parse(half)
    closed = photos[0].copy()
    closed.close()
    with pytest.raises(InputError, match="image: expected a whole PIL image"):
        model.parse(closed)


def test_render_takes_graphs_only(model: AutoEncoder) -> None:
    graph = SceneGraph.empty((64, 64), model.vocabulary)
    with pytest.raises(InputError, match=r"graphs\[0\]: expected a SceneGraph, got str"):
        model.render("photo.jpg")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="graphs: expected a list of SceneGraphs, got SceneGraph"):
        model.render_batch(graph)  # type: ignore[arg-type]


def test_seeds_of_numpy_and_pytorch_and_boxes_of_float64(model: AutoEncoder) -> None:
    graph = SceneGraph.empty((64, 64), model.vocabulary).add(1, (0, 0, 30, 30))
    wanted = model.render_batch([graph, graph], [3, 4])
    assert torch.equal(model.render_batch([graph, graph], np.array([3, 4])), wanted)
    assert torch.equal(model.render_batch([graph, graph], torch.tensor([3, 4])), wanted)
    assert_close(model.render_batch([graph], np.int64(4))[0], wanted[1])  # type: ignore[arg-type]
    double = replace(graph, boxes=graph.boxes.double())
    assert torch.equal(model.render_batch([graph, double], [3, 4]), wanted)


def test_parse_keeps_no_gradient_and_leaves_it_on(
    model: AutoEncoder, photos: list[Image.Image]
) -> None:
    given = model.features(photos[0], BOXES)
    found = model.features(photos[0], object_threshold=0.0)
    for features in (given, found):
        assert features.graph.object_scores is not None
        assert not features.graph.object_scores.requires_grad
        assert not features.objects.requires_grad
    assert not model.render_batch([given.graph]).requires_grad
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("count", [2, 4])
def test_labels_are_as_many_as_boxes(
    model: AutoEncoder, photos: list[Image.Image], count: int
) -> None:
    with pytest.raises(InputError, match=f"labels: expected one for each of 3 boxes, got {count}"):
        model.parse(photos[0], BOXES, ["person"] * count)
