"""A frozen detector's cached regions: what is trained and scored is what the detector gives."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.cli.main import main
from autoenc_sg.config.image_losses import ImageLossConfig
from autoenc_sg.config.phases import JointPhase
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.layers import ImageRandom
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.data.base.augment import flip, left_right_swap
from autoenc_sg.data.base.from_pairs import PairsDataset
from autoenc_sg.data.base.samples import Batch, GraphDataset, collate_samples
from autoenc_sg.data.open import open_dataset
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.region_cache import RegionCache, write
from autoenc_sg.model.region_reader import DetectorRegions
from autoenc_sg.scoring.evaluate import evaluate_model, open_splits
from autoenc_sg.scoring.options import ALL_TASKS, EvaluationOptions
from autoenc_sg.training.loop import train
from autoenc_sg.training.objectives import JointObjective
from autoenc_sg.training.splits import cached_regions
from autoenc_sg.training.start import Start
from autoenc_sg.visualization.progress import Reporter
from autoenc_sg.weights.checkpoint import read_checkpoint
from tests.support.tiny import tiny_config

FROZEN = ("--joint.freeze_detector=true",)


@pytest.fixture(scope="module")
def model(tiny_run: Path) -> AutoEncoder:
    return AutoEncoder.from_checkpoint(tiny_run / "run")


@pytest.fixture(scope="module")
def test_images(model: AutoEncoder) -> GraphDataset:
    return open_dataset(model.config.data, "test")


@pytest.fixture(scope="module")
def exact(
    model: AutoEncoder, test_images: GraphDataset, tmp_path_factory: pytest.TempPathFactory
) -> RegionCache:
    """The test images in float32."""
    return cached(tmp_path_factory.mktemp("exact"), model, test_images, precision="float32")


def cached(
    folder: Path, model: AutoEncoder, images: GraphDataset, **options: object
) -> RegionCache:
    reporter = Reporter([("cache regions", 1.0)])
    reporter.console.quiet = True
    return cached_regions(folder, model, images, reporter=reporter, **options)  # type: ignore[arg-type]


def batch_of(images: GraphDataset, count: int = 3) -> Batch:
    return collate_samples([images[i] for i in range(count)])


# What is read ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-5), ("float16", 4e-3)])
def test_the_cache_gives_what_the_detector_gives(
    model: AutoEncoder, test_images: GraphDataset, tmp_path: Path, precision: str, error: float
) -> None:
    cache = cached(tmp_path, model, test_images, precision=precision)
    batch = batch_of(test_images)
    with torch.no_grad():
        live = DetectorRegions(model.detector).read(batch.images, batch.graphs)
        read = cache.read(batch.images, batch.graphs)
        rows = torch.cat([live.detected_rows[:2], live.true_rows[:1]])
        for one, other in ((live.regions(rows), read.regions(rows)),):
            assert_close(other.boxes, one.boxes)
            assert_close(other.class_logits, one.class_logits, atol=1e-5, rtol=1e-5)
            assert_close(other.features, one.features, atol=error, rtol=error)
            assert_close(other.colors, one.colors, atol=error, rtol=error)
            pairs = torch.tensor([[0, 1], [1, 0]])
            unions = [model.detector.union_features(r, pairs) for r in (one, other)]
            assert_close(unions[1], unions[0], atol=error, rtol=error)
    for name in ("boxes", "labels", "scores", "image_index"):
        assert_close(getattr(read.detections, name), getattr(live.detections, name))
    assert_close(read.true_boxes, live.true_boxes)
    assert read.maps.image_sizes == live.maps.image_sizes
    assert read.maps.padded_size == live.maps.padded_size


def test_images_of_several_sizes_are_as_each_alone(model: AutoEncoder, tmp_path: Path) -> None:
    torch.manual_seed(0)
    pairs = []
    for height, width in ((64, 64), (40, 90), (90, 33)):
        graph = SceneGraph(
            torch.tensor([1, 2]),
            torch.tensor([[1.0, 2, 20, 30], [5, 5, 30, 39]]),
            torch.tensor([[0, 1, 1]]),
            (height, width),
        )
        pairs.append(((torch.rand(3, height, width) * 255).byte(), graph))
    images = PairsDataset(pairs, model.vocabulary)
    cache = cached(tmp_path, model, images, precision="float32")
    batch = collate_samples([images[i] for i in range(3)])
    reader = DetectorRegions(model.detector)
    with torch.no_grad():
        together = cache.read(batch.images, batch.graphs)
        regions = together.regions(together.true_rows)
        pairs_of = torch.tensor([[0, 1], [2, 3], [4, 5]])
        unions = model.detector.union_features(regions, pairs_of)
        for i in range(3):
            one = collate_samples([images[i]])
            alone = reader.read(one.images, one.graphs)
            expected = alone.regions(alone.true_rows)
            rows = slice(2 * i, 2 * i + 2)
            assert_close(regions.features[rows], expected.features, atol=1e-5, rtol=1e-5)
            pooled = model.detector.union_features(expected, pairs_of[:1])
            assert_close(unions[i : i + 1], pooled, atol=1e-5, rtol=1e-5)


def test_mirrored_images_are_cached_where_training_mirrors(
    model: AutoEncoder, tmp_path: Path
) -> None:
    images = open_dataset(replace(model.config.data, flip=True), "train")
    cache = cached(tmp_path, model, images, limit=2)
    assert len(cache) == 4
    plain = open_dataset(replace(model.config.data, flip=False), "train")
    swap = left_right_swap(model.vocabulary)
    for epoch in range(6):  # some are mirrored, some are not
        batch = collate_samples([images.sample(i, epoch) for i in range(2)])
        cache.read(batch.images, batch.graphs)
    mirrored = collate_samples([flip(plain[1], swap)])
    seen = cache.read(mirrored.images, mirrored.graphs)
    with torch.no_grad():
        live = DetectorRegions(model.detector).read(mirrored.images, mirrored.graphs)
    assert_close(seen.detections.boxes, live.detections.boxes)
    without = cached(tmp_path / "plain", model, plain, limit=2)
    assert len(without) == 2
    with pytest.raises(InputError, match="expected an image with the pixels and boxes"):
        without.read(mirrored.images, mirrored.graphs)


def test_no_objects_and_no_detections(model: AutoEncoder, tmp_path: Path) -> None:
    empty = SceneGraph(
        torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), torch.zeros(0, 3).long(), (64, 64)
    )
    image = torch.full((3, 64, 64), 127, dtype=torch.uint8)
    images = PairsDataset([(image, empty)], model.vocabulary)
    threshold = model.detector.config.score_threshold
    config = replace(model.detector.config, score_threshold=1.0)
    model.detector.config = config  # type: ignore[assignment]
    try:
        cache = cached(tmp_path, model, images)
    finally:
        model.detector.config = replace(config, score_threshold=threshold)  # type: ignore[assignment]
    batch = collate_samples([images[0]])
    seen = cache.read(batch.images, batch.graphs)
    assert len(seen.detections.boxes) == len(seen.true_boxes) == 0
    assert len(seen.regions(seen.detected_rows)) == 0


# Training and evaluation -------------------------------------------------------------------------


def losses_and_gradients(
    model: AutoEncoder, config: JointPhase, batch: Batch, regions: RegionCache | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    objective = JointObjective(model, config, regions=regions).train()
    model.zero_grad()
    random = ImageRandom(range(len(batch)))
    outcome = objective(batch, random)
    outcome.total.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {n: loss.detach() for n, loss in outcome.losses.items()}, gradients


@pytest.mark.parametrize("true_regions", [True, False])
def test_losses_and_gradients_are_those_without_cache(
    model: AutoEncoder, test_images: GraphDataset, exact: RegionCache, true_regions: bool
) -> None:
    config = replace(
        model.config.joint,
        freeze_detector=True,
        true_regions=true_regions,
        regions_per_image=3,
        image_losses=ImageLossConfig(feature_weight=0.5, relation_feature_weight=0.5),
    )
    batch = batch_of(test_images)
    buffers = {n: b.clone() for n, b in model.named_buffers()}
    live, live_gradients = losses_and_gradients(model, config, batch, None)
    model.load_state_dict(buffers, strict=False)
    read, gradients = losses_and_gradients(model, config, batch, exact)
    model.load_state_dict(buffers, strict=False)
    assert live.keys() == read.keys() >= {"predicate", "object", "box", "relatedness", "pixel"}
    assert live.keys() >= {"features", "relation_features"}
    for name, loss in live.items():
        assert_close(read[name], loss, atol=1e-5, rtol=1e-4)
    assert live_gradients.keys() == gradients.keys()
    assert any(name.startswith("detector.union_head") for name in gradients)
    assert not any(name.startswith("detector.roi_heads") for name in gradients)
    for name, gradient in live_gradients.items():
        assert_close(gradients[name], gradient, atol=1e-4, rtol=1e-3)
    model.zero_grad()
    model.requires_grad_(True)
    model.eval()


def test_scores_are_those_without_cache(
    model: AutoEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_images, test = open_splits(model.config.data, "test", model.config.seed)
    options = EvaluationOptions(
        tasks=ALL_TASKS, region_cache=tmp_path, region_precision="float32", batch_size=4
    )
    reporter = Reporter([("evaluate", 1.0)])
    reporter.console.quiet = True
    live = evaluate_model(model, train_images, test, replace(options, region_cache=None), reporter)
    first = evaluate_model(model, train_images, test, options, reporter)

    def forbidden(*_: object) -> None:
        raise AssertionError("the detector was asked to detect")

    monkeypatch.setattr(model.detector, "detect", forbidden)
    second = evaluate_model(model, train_images, test, options, reporter)
    for results in (first, second):
        for name, value in live.to_dict().items():
            assert results.to_dict()[name] == pytest.approx(value, abs=1e-4, nan_ok=True), name


def joint_run(folder: Path, base: Path, *options: str) -> dict[str, Tensor]:
    shutil.copytree(base / "scenes", folder / "scenes")
    config = tiny_config(folder, *FROZEN, *options)
    start = Start(read_checkpoint(base / "run" / "checkpoint.safetensors"))
    return dict(read_checkpoint(train(config, ("joint",), start)).model)


def test_a_phase_ends_with_the_weights_it_ends_with_without_cache(
    tiny_run: Path, tmp_path: Path
) -> None:
    plain = joint_run(tmp_path / "plain", tiny_run)
    cache = tmp_path / "regions"
    options = (f"--joint.region_cache={cache}", "--joint.region_precision=float32")
    read = joint_run(tmp_path / "cached", tiny_run, *options)
    assert {p.name for p in cache.iterdir()} == {"train", "val"}
    before = read_checkpoint(tiny_run / "run" / "checkpoint.safetensors").model
    for name, weight in plain.items():
        assert_close(read[name], weight, atol=2e-4, rtol=1e-3)
        head = name.startswith("detector.") and not name.startswith("detector.union_head")
        assert torch.equal(weight, before[name]) or not head, name
    assert not torch.equal(
        plain["relpn.subject_projection.0.weight"], before["relpn.subject_projection.0.weight"]
    )


# Files ------------------------------------------------------------------------------------------


def test_a_cache_of_other_weights_or_images_is_refused_and_stays(
    model: AutoEncoder, test_images: GraphDataset, tmp_path: Path
) -> None:
    cached(tmp_path, model, test_images, limit=2)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    other = AutoEncoder(model.config, model.vocabulary).eval()
    same = AutoEncoder(model.config, model.vocabulary).eval()
    same.detector.load_state_dict(model.detector.state_dict())
    torch.nn.init.ones_(same.detector.union_head[0].weight)  # type: ignore[index, operator]
    cached(tmp_path, same, test_images, limit=2)  # layers of graphs alone differ
    val = open_dataset(model.config.data, "val")
    for name, call in {
        "weights": lambda: cached(tmp_path, other, test_images, limit=2),
        "data": lambda: cached(tmp_path, model, val, limit=2),
        "precision": lambda: cached(tmp_path, model, test_images, limit=2, precision="float32"),
    }.items():
        with pytest.raises(InputError, match=rf"regions cached in .*: {name}: expected") as raised:
            call()
        assert "\n" not in str(raised.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_other_files_are_not_touched(
    model: AutoEncoder, test_images: GraphDataset, tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").write_text("mine")
    with pytest.raises(InputError, match=r"a folder of cached regions, got photo\.jpg"):
        cached(tmp_path, model, test_images)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_an_interrupted_cache_goes_on_and_is_never_read_half(
    model: AutoEncoder, test_images: GraphDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "PER_SHARD", 2)
    whole = cached(tmp_path / "whole", model, test_images)
    encode, limit = model.detector.encode, 3
    seen: list[object] = []

    def counted(images: list[Tensor]) -> object:
        if len(seen) == limit:
            raise KeyboardInterrupt
        seen.append(images)
        return encode(images)

    monkeypatch.setattr(model.detector, "encode", counted)
    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path / "half", model, test_images)
    with pytest.raises(InputError, match="expected a whole cache, got an unfinished one"):
        RegionCache(tmp_path / "half", whole.key, model.detector)
    monkeypatch.setattr(
        model.detector, "encode", lambda images: seen.append(images) or encode(images)
    )
    cached(tmp_path / "half", model, test_images)
    assert len(seen) == 3 + 4  # the first two images were whole
    for one in (tmp_path / "whole").iterdir():
        assert (tmp_path / "half" / one.name).read_bytes() == one.read_bytes()
    cached(tmp_path / "half", model, test_images)
    assert len(seen) == 3 + 4


def damages(path: Path) -> Iterator[tuple[str, bytes]]:
    data = path.read_bytes()
    yield "whole cached regions", data[:-100]
    yield "a file of another kind", b"PK" + data[2:]
    yield "cached regions", b""
    yield "what was written", data[:40] + bytes([data[40] ^ 1]) + data[41:]


def test_damaged_files_are_named_in_one_line(
    model: AutoEncoder, test_images: GraphDataset, tmp_path: Path
) -> None:
    cached(tmp_path, model, test_images, limit=2)
    path, batch = tmp_path / "00000.regions", batch_of(test_images, 2)
    good = path.read_bytes()
    for expected, data in damages(path):
        path.write_bytes(data)
        with pytest.raises(InputError, match=expected) as raised:
            cached(tmp_path, model, test_images, limit=2).read(batch.images, batch.graphs)
        assert "00000.regions" in str(raised.value)
        assert "\n" not in str(raised.value)
    path.unlink()
    with pytest.raises(InputError, match="expected 2 entries, got 0"):
        cached(tmp_path, model, test_images, limit=2)
    path.write_bytes(good)
    cached(tmp_path, model, test_images, limit=2)
    for text in ("", "[", "[1]"):
        (tmp_path / "regions.json").write_text(text)
        with pytest.raises(InputError, match="expected the key of cached regions"):
            cached(tmp_path, model, test_images, limit=2)


def test_features_beyond_float16_are_refused(
    model: AutoEncoder, test_images: GraphDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = model.detector.encode

    def large(images: list[Tensor]) -> object:
        maps = encode(images)
        return replace(maps, maps=tuple(level * 1e6 for level in maps.maps))

    monkeypatch.setattr(model.detector, "encode", large)
    with pytest.raises(InputError, match="finite features that float16 can hold"):
        cached(tmp_path, model, test_images, limit=1)
    cached(tmp_path / "float32", model, test_images, limit=1, precision="float32")


# Options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region_cache": "x"}, "joint.region_cache: expected none without freeze_detector"),
        (
            {"freeze_detector": True, "freeze_backbone": False},
            "joint.freeze_detector: expected false without freeze_backbone",
        ),
        (
            {"freeze_detector": True, "detection_weight": 1.0},
            "joint.freeze_detector: expected false with a detection_weight",
        ),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        JointPhase(**options)  # type: ignore[arg-type]


def test_evaluate_refuses_a_cache_of_other_weights(
    tiny_run: Path,
    model: AutoEncoder,
    test_images: GraphDataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = AutoEncoder(model.config, model.vocabulary).eval()
    cached(tmp_path / "test", other, test_images, limit=2)
    words = ["--limit", "2", "--region-cache", str(tmp_path), "--no-object-accuracy"]
    assert main(["evaluate", str(tiny_run / "run"), "--device", "cpu", *words]) == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if "expected" in x]
    assert len(lines) == 1
    assert "weights: expected" in lines[0]
