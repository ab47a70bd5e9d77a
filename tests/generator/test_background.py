"""Codes of the background in the generator: hats of a grid on the `__image__` node."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.layers import ImageRandom
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.generator import Generator
from autoenc_sg.generator.appearance import BackgroundInput
from autoenc_sg.generator.layout import factor_layout, hats, with_background_vectors
from tests.generator.test_model import CLASSES, PREDICATES, SMALL, _empty_graph, _graph
from tests.support.tiny import same

CODED = replace(SMALL, appearance_dim=3, background_cells=2, appearance_dropout=0.0)
LIKE = torch.zeros(1)


def generator_of(config: GeneratorConfig = CODED, train: bool = False) -> Generator:
    """A generator whose W_b is not 0."""
    torch.manual_seed(0)
    generator = Generator(config, CLASSES, PREDICATES).train(train)
    assert generator.background_net is not None
    with torch.no_grad():
        weight = generator.background_net.weight
        weight.normal_(generator=torch.Generator().manual_seed(1))
    return generator


def with_codes(graph: RelaxedGraph, cells: int = 2) -> RelaxedGraph:
    rng = torch.Generator().manual_seed(2)
    return replace(graph, background=torch.randn(graph.num_images, cells**2, 3, generator=rng))


# Hats and layout ----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, 2, 3, 5, 8])
def test_hats_sum_to_one(side: int) -> None:
    values = hats(side, 32, LIKE)
    assert values.shape == (side, 32)
    assert (values >= 0).all()
    assert_close(values.sum(0), torch.ones(32))


def test_hats_by_hand() -> None:
    assert torch.equal(hats(1, 4, LIKE), torch.ones(1, 4))
    expected = torch.tensor([[1, 1, 0.5, 0, 0], [0, 0, 0.5, 1, 1]])  # middles at 1/4 and 3/4
    assert_close(hats(2, 5, LIKE), expected)


def some_factors(with_masks: bool) -> tuple[Tensor, ...]:
    """Vectors, boxes and masks of two images: an object and `__image__`, then `__image__` alone."""
    rng = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[0.1, 0.2, 0.6, 0.9], [0.0, 0, 1, 1], [0.0, 0, 1, 1]])
    masks = torch.rand(3, 4, 4, generator=rng) if with_masks else None
    return torch.randn(3, 5, generator=rng), boxes, masks, torch.tensor([0, 0, 1])  # type: ignore[return-value]


@pytest.mark.parametrize("with_masks", [False, True])
def test_one_code_equals_adding_it_to_the_image_node_s_vector(with_masks: bool) -> None:
    vectors, boxes, masks, index = some_factors(with_masks)
    added = torch.randn(2, 1, 5, generator=torch.Generator().manual_seed(3))
    layout = factor_layout(vectors, boxes, masks, index, 2, 8)
    got = with_background_vectors(layout, torch.tensor([1, 0]), added)
    changed = vectors.clone()
    changed[1:] += added[:, 0]
    expected = factor_layout(changed, boxes, masks, index, 2, 8)
    for side in (8, 4):
        assert_close(got.maps(side), expected.maps(side))


def test_each_code_lies_in_its_part() -> None:
    vectors, boxes, masks, index = some_factors(True)
    layout = factor_layout(vectors, boxes, masks, index, 2, 8)
    added = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(3))
    got = with_background_vectors(layout, torch.tensor([1, 0]), added)
    image_masks = layout.masks(8)[[0, 1], [1, 0]]
    axis = hats(2, 8, LIKE)
    parts = torch.einsum("gy,hx->ghyx", axis, axis).reshape(4, 8, 8)
    background = torch.einsum("bkd,kyx->bdyx", added, parts) * image_masks[:, None]
    assert_close(got.maps(8), layout.maps(8) + background)
    corner = added[0, 1] * image_masks[0, 0, 7]  # right of the first row
    assert_close(got.maps(8)[0, :, 0, 7], layout.maps(8)[0, :, 0, 7] + corner)


# The generator ------------------------------------------------------------------------------------


def test_without_codes_the_generator_is_bit_identical() -> None:
    plain_config = replace(CODED, background_cells=0)
    torch.manual_seed(0)
    plain = Generator(plain_config, CLASSES, PREDICATES).eval()
    generator = generator_of()
    weights = plain.state_dict()
    same({n: v for n, v in generator.state_dict().items() if n in weights}, dict(weights))
    assert set(generator.state_dict()) - set(weights) == {"background_net.weight"}
    expected = plain(_graph()).image
    assert torch.equal(generator(_graph()).image, expected)
    zeros = replace(_graph(), background=torch.zeros(3, 4, 3))
    assert_close(generator(zeros).image, expected, atol=1e-5, rtol=1e-4)
    assert GeneratorConfig().background_cells == 0


def test_w_starts_at_zero() -> None:
    generator = Generator(CODED, CLASSES, PREDICATES).eval()
    graph = with_codes(_graph())
    expected = generator(_graph()).image
    assert_close(generator(graph).image, expected, atol=1e-5, rtol=1e-4)


def test_batched_equals_one_by_one() -> None:
    generator, graph = generator_of(), with_codes(_graph())
    generated = generator(graph)
    rows, edges = slice(3, 5), slice(3, 5)
    assert graph.background is not None
    alone = RelaxedGraph(
        graph.objects[rows],
        graph.predicates[edges],
        graph.pairs[edges] - 3,
        graph.edge_weights[edges],
        graph.object_weights[rows],
        graph.boxes[rows],
        torch.zeros(2, dtype=torch.int64),
        1,
        background=graph.background[2:],
    )
    assert_close(generator(alone).image[0], generated.image[2], atol=1e-4, rtol=1e-4)
    bare = generator(_graph())
    assert torch.equal(generated.boxes, bare.boxes)
    assert torch.equal(generated.vectors, bare.vectors)
    assert all(not torch.allclose(a, b, atol=1e-3) for a, b in zip(generated.image, bare.image))


def test_gradient_reaches_codes_and_w_also_of_no_object() -> None:
    generator = generator_of(train=True)
    for graph in (with_codes(_graph()), with_codes(_empty_graph(2))):
        codes = graph.background
        assert codes is not None
        generator.zero_grad()
        generator(replace(graph, background=codes.requires_grad_())).image.sum().backward()
        assert codes.grad is not None
        assert (codes.grad != 0).any(2).all()
        assert generator.background_net is not None
        assert generator.background_net.weight.grad is not None
        assert generator.background_net.weight.grad.any()


def test_the_codes_of_whole_images_are_dropped_in_training_alone() -> None:
    torch.manual_seed(0)
    layer = BackgroundInput(2, 2, 0.3)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(2))
    codes = torch.ones(4000, 4, 2)
    output = layer(codes).detach()
    assert set(output.flatten().tolist()) == {0.0, 1.0}
    assert torch.equal(output.amax((1, 2)), output.amin((1, 2)))  # whole images
    assert float(output.mean()) == pytest.approx(0.7, abs=0.03)
    assert_close(layer.eval()(codes), codes)


def test_an_image_s_dropout_follows_from_its_own_random_stream() -> None:
    layer = BackgroundInput(2, 2, 0.5)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(2))
    codes = torch.ones(40, 4, 2)
    whole = layer(codes, ImageRandom(range(40)))
    halves = [
        layer(codes[:15], ImageRandom(range(15))),
        layer(codes[15:], ImageRandom(range(15, 40))),
    ]
    assert torch.equal(torch.cat(halves), whole)
    assert 0 < float(whole.detach().mean()) < 1


@pytest.mark.parametrize("layers", [0, 2])
def test_editing_an_object_leaves_the_background_as_it_was(layers: int) -> None:
    """Its part of the layout is the same; without graph convolutions all outside the box is."""
    generator = generator_of(replace(CODED, gconv_layers=layers, mask_size=0))
    objects = torch.eye(CLASSES)
    boxes = torch.tensor([[0.0, 0, 0.25, 0.25], [0.5, 0.5, 0.75, 0.75]])
    graph = RelaxedGraph(
        objects[[1, 2]],
        torch.eye(PREDICATES)[[1]],
        torch.tensor([[0, 1]]),
        torch.ones(1),
        torch.ones(2),
        boxes,
        torch.zeros(2, dtype=torch.int64),
        1,
    )
    edited = replace(graph, objects=objects[[1, 3]])
    coded, coded_edit = generator(with_codes(graph)).layout, generator(with_codes(edited)).layout
    added = coded - generator(graph).layout
    assert added.abs().amax(1).gt(1e-3).float().mean() > 0.99
    assert_close(coded_edit - generator(edited).layout, added, atol=1e-5, rtol=1e-4)
    if layers == 0:
        inside = slice(14, 26)  # of 32 pixels, with the edge that fades
        changed = (coded != coded_edit).any(1)[0]
        assert changed[inside, inside].any()
        changed[inside, inside] = False
        assert not changed.any()


# Bad input ----------------------------------------------------------------------------------------


def test_codes_of_another_shape_are_an_error() -> None:
    for shape in ((3, 1, 3), (3, 4, 2), (2, 4, 3)):
        other = replace(_graph(), background=torch.zeros(shape))
        expected = r"background codes: expected shape \[3, 4, 3\], got \["
        with pytest.raises(InputError, match=expected):
            generator_of()(other)
    torch.manual_seed(0)
    with pytest.raises(InputError, match="background codes: expected none: this generator reads"):
        Generator(SMALL, CLASSES, PREDICATES)(with_codes(_graph()))


def test_bad_configuration() -> None:
    with pytest.raises(InputError, match=r"generator\.background_cells: expected >= 0"):
        GeneratorConfig(background_cells=-1)
    with pytest.raises(InputError, match=r"background_cells: expected 0 without appearance codes"):
        GeneratorConfig(background_cells=1)


def test_foreign_codes_are_refused_before_anything_is_written(
    coded_checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from autoenc_sg.cli.main import main

    file = tmp_path / "g.json"
    file.write_text(json.dumps({"objects": ["dog"], "background": [[1, 2, 3]]}))
    assert main(["generate", coded_checkpoint, str(file), "--out", str(tmp_path / "out")]) == 2
    assert "background: expected none (this model reads none), got 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
