"""Appearance codes: from regions through the graph and JSON to pictures, and how they train."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.cli.main import main
from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.graph_json import read_graphs, write_graph
from autoenc_sg.core.graph_logits import GraphLogits, RelaxMode
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.core.structures import Regions
from autoenc_sg.generator import Generator
from autoenc_sg.generator.appearance import AppearanceInput
from autoenc_sg.model.appearance import AppearanceEncoder
from autoenc_sg.model.autoencoder import AutoEncoder
from tests.generator.test_model import CLASSES, PREDICATES, SMALL, _graph
from tests.support.tiny import photos, same
from tests.training.phases.test_reconstruction_options import weights_of

WIDE = replace(SMALL, appearance_dim=3)


@pytest.fixture(scope="module")
def model(coded_checkpoint: str) -> AutoEncoder:
    return AutoEncoder.from_checkpoint(coded_checkpoint)


def wide(codes: Tensor | None = None, train: bool = False, dropout: float = 0.0) -> Generator:
    """A generator with codes whose W is not 0."""
    torch.manual_seed(0)
    config = replace(WIDE, appearance_dropout=dropout)
    generator = Generator(config, CLASSES, PREDICATES).train(train)
    assert generator.appearance_net is not None
    with torch.no_grad():
        generator.appearance_net.weight.normal_(generator=torch.Generator().manual_seed(1))
    return generator


def coded(seed: int = 0) -> RelaxedGraph:
    codes = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
    return replace(_graph(), appearance=codes)


def logits(graphs: SceneGraphBatch, codes: Tensor) -> GraphLogits:
    """Of a graph's own answer: class 2, then 1; the second box is too small to be kept."""
    return GraphLogits(
        torch.tensor([[0.0, 0, 9, 0, 0], [0, 9, 0, 0, 0], [0, 9, 0, 0, 0]]),
        torch.tensor([[0.0, 0, 8, 8], [1, 1, 1, 1], [4, 4, 9, 9]]),
        torch.tensor([[0, 2]]),
        torch.tensor([[0.0, 9, 0, 0]]),
        torch.ones(1),
        torch.zeros(3, dtype=torch.int64),
        ((16, 16),),
        codes,
    )


# The two layers -----------------------------------------------------------------------------------


def test_code_added_by_hand() -> None:
    layer = AppearanceInput(2, 3, 0.0)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0], [0, 2], [1, 1]]))
    vectors = torch.tensor([[0.0, 0, 0], [1, 1, 1]])
    codes = torch.tensor([[0.5, -1.0], [0, 0]])
    got = layer(vectors, codes, torch.tensor([0, 1]), 2)
    assert_close(got, torch.tensor([[0.5, -2.0, -0.5], [1, 1, 1]]))
    none = layer(vectors[:0], codes[:0], torch.zeros(0, dtype=torch.int64), 1)
    assert none.shape == (0, 3)
    none.sum().backward()
    assert_close(layer.weight.grad, torch.zeros(3, 2))


def test_whole_codes_are_dropped_by_object_and_by_image_in_training_alone() -> None:
    torch.manual_seed(0)
    layer = AppearanceInput(2, 2, 0.3)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(2))
    images, each = 4000, 3
    index = torch.arange(images).repeat_interleave(each)
    codes = torch.ones(images * each, 2)
    output = layer(torch.zeros_like(codes), codes, index, images).detach()
    assert set(output.flatten().tolist()) == {0.0, 1.0}
    assert torch.equal(output[:, 0], output[:, 1])  # whole codes
    assert float(output.mean()) == pytest.approx(0.49, abs=0.02)  # 0.7 x 0.7
    bare = (output.reshape(images, -1).sum(1) == 0).float().mean()
    assert float(bare) == pytest.approx(0.3 + 0.7 * 0.3**3, abs=0.03)
    layer.eval()
    assert_close(layer(torch.zeros_like(codes), codes, index, images), codes)


def test_bottleneck_by_hand_and_its_gradient_ends_there() -> None:
    encoder = AppearanceEncoder(4, 2)
    maps = torch.randn(3, 4, 6, 6, requires_grad=True)
    cells = maps.detach().reshape(3, 4, 2, 3, 2, 3).mean((3, 5)).flatten(1)
    features = (cells - cells.mean(1, keepdim=True)) / (
        cells.var(1, unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    first, _, second = encoder.net
    hidden = (features @ first.weight.T + first.bias).relu()  # type: ignore[operator, union-attr]
    expected = (hidden @ second.weight.T + second.bias).tanh()  # type: ignore[operator, union-attr]
    nothing, index = torch.zeros(3, 0), torch.zeros(3, dtype=torch.int64)
    regions = Regions(nothing, nothing, nothing, index, (), (), ())  # not read without colours
    codes = encoder(maps, regions)
    assert_close(codes, expected)
    codes.sum().backward()
    assert maps.grad is None
    assert all(p.grad is not None for p in encoder.parameters())
    assert encoder(maps[:0], regions).shape == (0, 2)


# Generator ----------------------------------------------------------------------------------------


def test_without_codes_the_generator_is_bit_identical() -> None:
    torch.manual_seed(0)
    plain = Generator(SMALL, CLASSES, PREDICATES).eval()
    expected = plain(_graph()).image
    generator = wide()
    own_weights = plain.state_dict()
    same({n: v for n, v in generator.state_dict().items() if n in own_weights}, dict(own_weights))
    assert set(generator.state_dict()) - set(own_weights) == {"appearance_net.weight"}
    zeros = replace(_graph(), appearance=torch.zeros(5, 3))
    assert torch.equal(generator(_graph()).image, expected)
    assert torch.equal(generator(zeros).image, expected)
    assert GeneratorConfig().appearance_dim == 0


def test_codes_change_looks_but_not_places() -> None:
    generator = wide()
    generated, bare = generator(coded()), generator(_graph())
    assert not torch.allclose(generated.image[0], bare.image[0], atol=1e-3)
    assert torch.equal(generated.image[1], bare.image[1])  # no object there
    assert torch.equal(generated.boxes, bare.boxes)
    assert torch.equal(generated.vectors, bare.vectors)


def test_batched_equals_one_by_one_and_order_does_not_matter() -> None:
    generator, graph = wide(), coded()
    generated = generator(graph)
    order = torch.tensor([2, 0, 1, 4, 3])
    back = order.argsort()
    fields = ("objects", "object_weights", "boxes", "appearance")
    moved = {name: getattr(graph, name)[order] for name in fields}
    renumbered = generator(replace(graph, **moved, pairs=back[graph.pairs]))
    assert_close(renumbered.image, generated.image, atol=1e-4, rtol=1e-4)
    rows, edges = slice(3, 5), slice(3, 5)
    alone = RelaxedGraph(
        graph.objects[rows],
        graph.predicates[edges],
        graph.pairs[edges] - 3,
        graph.edge_weights[edges],
        graph.object_weights[rows],
        graph.boxes[rows],
        torch.zeros(2, dtype=torch.int64),
        1,
        appearance=graph.appearance[rows],  # type: ignore[index]
    )
    assert_close(generator(alone).image[0], generated.image[2], atol=1e-4, rtol=1e-4)


def test_gradient_reaches_codes_and_w_also_of_no_object() -> None:
    generator = wide(train=True)
    graph = coded()
    codes = graph.appearance
    assert codes is not None
    generator(replace(graph, appearance=codes.requires_grad_())).image.sum().backward()
    assert codes.grad is not None
    assert (codes.grad != 0).any(1).all()
    assert generator.appearance_net is not None
    assert generator.appearance_net.weight.grad is not None
    names = ("objects", "predicates", "pairs", "edge_weights", "object_weights", "boxes")
    none = {n: getattr(graph, n)[:0] for n in (*names, "image_index")}
    empty = replace(graph, **none, appearance=torch.zeros(0, 3))
    generator.zero_grad()
    generated = generator(empty).image
    generated.sum().backward()
    assert generated.isfinite().all()
    assert_close(generator.appearance_net.weight.grad, torch.zeros(16, 3))


def test_codes_of_another_width_are_an_error() -> None:
    other = replace(_graph(), appearance=torch.zeros(5, 4))
    with pytest.raises(InputError, match="codes: expected 3 numbers an object, got 4 numbers"):
        wide()(other)
    torch.manual_seed(0)
    with pytest.raises(InputError, match="codes: expected none: this generator reads none, got 4"):
        Generator(SMALL, CLASSES, PREDICATES)(other)


def test_bad_configuration() -> None:
    with pytest.raises(InputError, match=r"generator\.appearance_dropout: expected 0\.\.1"):
        GeneratorConfig(appearance_dropout=1.5)
    with pytest.raises(InputError, match=r"generator\.appearance_dim: expected >= 0"):
        GeneratorConfig(appearance_dim=-1)


# Graphs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["soft", "straight_through", "detached"])
def test_relaxed_and_decoded_graphs_carry_codes(mode: RelaxMode) -> None:
    codes = torch.tensor([[1.0, 2], [3, 4], [5, 6]], requires_grad=True)
    graph = logits(SceneGraphBatch.collate([SceneGraph.empty((4, 4))]), codes)
    relaxed = graph.relax(mode)
    assert relaxed.appearance is codes  # trained in every mode
    decoded = graph.decode()
    assert_close(decoded.appearance, codes[[0, 2]])
    (single,) = decoded.split()
    assert_close(single.select(torch.tensor([1])).appearance, codes[2:])
    assert replace(graph, appearance=None).decode().appearance is None


def test_json_takes_objects_without_codes(tmp_path: Path, model: AutoEncoder) -> None:
    data = {
        "objects": ["tree", "dog", "tree"],
        "relationships": [],
        "appearance": [None, [0.25, -1, 1e-3], None],
    }
    file = tmp_path / "g.json"
    file.write_text(json.dumps(data))
    (parsed,) = read_graphs(file, model.vocabulary)
    zeros = [0.0] * 3
    assert_close(parsed.appearance, torch.tensor([zeros, [0.25, -1, 1e-3], zeros]))
    file.write_text(json.dumps(data | {"appearance": [None] * 3}))
    (parsed,) = read_graphs(file, model.vocabulary)
    assert parsed.appearance is None


# The autoencoder ----------------------------------------------------------------------------------


def test_parse_fills_codes_that_survive_json_and_are_drawn(
    model: AutoEncoder, coded_run: Path, tmp_path: Path
) -> None:
    images = photos(coded_run, 2).images
    graphs = model.parse([image.float() / 255 for image in images])
    for graph in graphs:
        assert graph.appearance is not None
        assert graph.appearance.shape == (len(graph), 3)
        assert (graph.appearance.abs() < 1).all()
    alone = model.parse(images[0])
    assert_close(alone.appearance, graphs[0].appearance, atol=1e-4, rtol=1e-4)
    write_graph(tmp_path / "g.json", graphs[0], model.vocabulary)
    (parsed,) = read_graphs(tmp_path / "g.json", model.vocabulary)
    assert torch.equal(parsed.appearance, graphs[0].appearance)  # type: ignore[arg-type]
    drawn = model.render_batch([graphs[0], replace(graphs[0], appearance=None)], [0, 0])
    assert not torch.allclose(drawn[0], drawn[1], atol=1e-3)


def test_codes_are_the_detector_s_and_leave_it_as_it_was(
    model: AutoEncoder, coded_run: Path
) -> None:
    batch = photos(coded_run, 3)
    model.train()
    before = weights_of(model.detector)
    graphs = model.with_appearance(batch.images, batch.graphs)
    assert model.detector.backbone.training
    same(before, dict(model.detector.state_dict()))
    model.eval()
    maps = model.detector.encode(batch.images)
    regions = model.detector.describe(maps, batch.graphs.boxes, batch.graphs.image_index)
    assert model.appearance is not None
    region_maps = model.detector.region_maps(regions)
    assert_close(graphs.appearance, model.appearance(region_maps, regions).detach())
    single = photos(coded_run, 1)
    one = model.with_appearance(single.images, single.graphs)
    assert_close(one.appearance, graphs.split()[0].appearance, atol=1e-4, rtol=1e-4)
    nothing = SceneGraphBatch.collate([SceneGraph.empty((64, 64))] * 3)
    assert model.with_appearance(batch.images, nothing).appearance.shape == (0, 3)  # type: ignore[union-attr]


def test_editing_keeps_the_looks_of_the_rest(
    model: AutoEncoder, coded_checkpoint: str, coded_run: Path, tmp_path: Path
) -> None:
    batch = photos(coded_run, 1)
    (graph,) = model.with_appearance(batch.images, batch.graphs).split()
    write_graph(tmp_path / "g.json", graph, model.vocabulary)
    data = json.loads((tmp_path / "g.json").read_text())
    row = len(data["objects"]) - 1
    data["objects"][row] = "ball"
    data["appearance"][row] = None  # a ball of no certain looks
    edited = tmp_path / "edited.json"
    edited.write_text(json.dumps(data))
    (parsed,) = read_graphs(edited, model.vocabulary)
    assert graph.appearance is not None
    assert parsed.appearance is not None
    assert torch.equal(parsed.appearance[:row], graph.appearance[:row])
    assert main(["generate", coded_checkpoint, str(edited), "--out", str(tmp_path / "out")]) == 0
    image = Image.open(tmp_path / "out" / "edited.png")
    stored = json.loads(image.text["scene graph"])  # type: ignore[attr-defined]
    assert stored["appearance"][:row] == data["appearance"][:row]
    picture = model.render(parsed)
    assert picture.tobytes() == image.tobytes()


def test_files_with_and_without_codes_together(
    model: AutoEncoder, coded_checkpoint: str, coded_run: Path, tmp_path: Path
) -> None:
    batch = photos(coded_run, 1)
    (graph,) = model.with_appearance(batch.images, batch.graphs).split()
    write_graph(tmp_path / "g.json", graph, model.vocabulary)
    with_codes = json.loads((tmp_path / "g.json").read_text())
    bare = {key: value for key, value in with_codes.items() if key != "appearance"}
    empty = {"objects": [], "relationships": [], "appearance": []}
    file = tmp_path / "many.json"
    file.write_text(json.dumps([with_codes, bare, empty]))
    assert (
        main(["generate", coded_checkpoint, str(file), "--out", str(tmp_path), "--seed", "3"]) == 0
    )
    expected = [graph, replace(graph, appearance=None)]
    for i, one in enumerate(expected):
        stored = Image.open(tmp_path / f"many-{i:04d}.png")
        assert_pixels(stored, model.render(one, seed=3 + i))


def assert_pixels(a: Image.Image, b: Image.Image) -> None:
    """Equal up to rounding: the one was drawn in a batch."""
    assert max(abs(x - y) for x, y in zip(a.tobytes(), b.tobytes())) <= 1


def test_foreign_codes_are_refused_before_anything_is_written(
    coded_checkpoint: str, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "g.json"
    file.write_text(json.dumps({"objects": ["dog"], "relationships": [], "appearance": [[1, 2]]}))
    plain = str(tiny_run / "run" / "checkpoint.safetensors")
    for path, expected in (
        (coded_checkpoint, "3 numbers an object"),
        (plain, "none (this model reads"),
    ):
        assert main(["generate", path, str(file), "--out", str(tmp_path / "out")]) == 2
        assert f"appearance: expected {expected}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_sample_with_the_looks_of_the_photos(
    model: AutoEncoder,
    coded_checkpoint: str,
    tiny_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call = ["sample", coded_checkpoint, "--limit", "2", "--out"]
    assert main([*call, str(tmp_path / "a"), "--appearance"]) == 0
    assert main([*call, str(tmp_path / "b")]) == 0
    coded = read_graphs(tmp_path / "a" / "graphs.json", model.vocabulary)
    plain = read_graphs(tmp_path / "b" / "graphs.json", model.vocabulary)
    for a, b in zip(coded, plain):
        assert a.appearance is not None
        assert b.appearance is None
    first, second = (tmp_path / name / "images" / "000000.png" for name in "ab")
    assert Image.open(first).tobytes() != Image.open(second).tobytes()
    other = str(tiny_run / "run" / "checkpoint.safetensors")
    assert main(["sample", other, "--appearance", "--out", str(tmp_path / "c")]) == 2
    assert "--appearance: expected a model with appearance codes" in capsys.readouterr().err
