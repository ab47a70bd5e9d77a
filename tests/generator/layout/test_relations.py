"""Relations in the layout, against a loop over relations and pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.generator import Generator
from autoenc_sg.generator.layout import (
    Layout,
    RelationLayout,
    factor_layout,
    joined_layouts,
    relations,
)
from autoenc_sg.generator.layout.relations import MASK_SIZE
from tests.generator.test_model import (
    CLASSES,
    PREDICATES,
    SMALL,
    _empty_graph,
    _graph,
    _single,
    _with_grad,
)
from tests.support.gradients import assert_all_but_biases_before_norms_have_gradients
from tests.support.tiny import same

RELATED = replace(SMALL, relation_layout=True)
S = MASK_SIZE


def generator_of(config: GeneratorConfig = RELATED, train: bool = False) -> Generator:
    torch.manual_seed(0)
    return Generator(config, CLASSES, PREDICATES).train(train)


def layer(dim: int = 6) -> RelationLayout:
    torch.manual_seed(1)
    return RelationLayout(dim)


def vectors_of(count: int, dim: int = 6) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(4))


def without_relations(graph: RelaxedGraph) -> RelaxedGraph:
    names = ("predicates", "pairs", "edge_weights")
    return replace(graph, **{name: getattr(graph, name)[:0] for name in names})


# Against a loop -----------------------------------------------------------------------------------


def mask_of_one(net: RelationLayout, vector: Tensor, subject: Tensor, object_: Tensor) -> Tensor:
    """The mask of one relation, cell by cell: `[S, S]`."""
    x0, y0 = (min(float(subject[i]), float(object_[i])) for i in (0, 1))
    x1, y1 = (max(float(subject[i]), float(object_[i])) for i in (2, 3))
    width, height = (x1 - x0) / S, (y1 - y0) / S
    maps = torch.ones(5, S, S)
    for row in range(S):
        for column in range(S):
            left, top = x0 + column * width, y0 + row * height
            for channel, box in enumerate((subject, object_)):
                shared_width = min(float(box[2]), left + width) - max(float(box[0]), left)
                shared_height = min(float(box[3]), top + height) - max(float(box[1]), top)
                share = max(shared_width, 0) * max(shared_height, 0) / (width * height)
                maps[channel, row, column] = share
            maps[3, row, column] = 2 * column / (S - 1) - 1
            maps[4, row, column] = 2 * row / (S - 1) - 1
    gate, bias = net.condition(torch.cat([vector, subject, object_])).chunk(2)
    hidden = net.conv1(maps[None])[0]
    hidden = torch.stack([(1 + g) * m + b for g, m, b in zip(gate, hidden, bias)]).relu()
    mask: Tensor = net.conv2(hidden[None])[0, 0].sigmoid()
    return mask


def layout_of_loop(net: RelationLayout, vectors: Tensor, graph: RelaxedGraph, size: int) -> Tensor:
    out = torch.zeros(graph.num_images, vectors.shape[1], size, size)
    pixel = torch.linspace(0, 1, size)
    for k, (s, o) in enumerate(graph.pairs.tolist()):
        subject, object_ = graph.boxes[s], graph.boxes[o]
        mask = mask_of_one(net, vectors[k], subject, object_)
        low, high = torch.minimum(subject, object_)[:2], torch.maximum(subject, object_)[2:]
        x, y = ((pixel - low[i]) / (high[i] - low[i]) * 2 - 1 for i in (0, 1))
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), 2).flip(2)[None]
        warped = F.grid_sample(mask[None, None], grid, align_corners=True)[0, 0]
        edge = ((x.abs() <= 1)[None] & (y.abs() <= 1)[:, None]).float()
        inside = torch.where(edge > 0, warped, _faded(mask, grid))
        image = int(graph.image_index[s])
        out[image] += graph.edge_weights[k] * vectors[k][:, None, None] * inside
    return out


def _faded(mask: Tensor, grid: Tensor) -> Tensor:
    """Bilinear with zeros outside: what `grid_sample` gives beyond the corners."""
    padded: Tensor = F.grid_sample(mask[None, None], grid, padding_mode="zeros", align_corners=True)
    return padded[0, 0]


def test_equals_a_loop_over_the_relations() -> None:
    net, graph = layer(), _graph()
    graph = replace(graph, boxes=graph.boxes * 0.8 + 0.1)
    vectors = vectors_of(len(graph.pairs))
    with torch.no_grad():
        got = net(vectors, graph.boxes, graph, 32)
        assert_close(got.maps(32), layout_of_loop(net, vectors, graph, 32), atol=1e-5, rtol=1e-4)
        assert_close(got.maps(8), F.avg_pool2d(got.maps(32), 4), atol=1e-5, rtol=1e-4)


def test_it_lies_in_the_union_box_between_the_objects() -> None:
    net = layer(1)
    boxes = torch.tensor([[0.0, 0.0, 0.25, 0.25], [0.75, 0.0, 1.0, 0.25]])
    graph = RelaxedGraph(
        torch.eye(CLASSES)[[1, 2]],
        torch.eye(PREDICATES)[[1]],
        torch.tensor([[0, 1]]),
        torch.ones(1),
        torch.ones(2),
        boxes,
        torch.zeros(2, dtype=torch.int64),
        1,
    )
    drawn = net(torch.ones(1, 1), boxes, graph, 32).maps(32)[0, 0].detach()
    assert (drawn[:8] > 0.01).all()  # 7.75 rows of pixels, also where neither object is
    assert not drawn[9:].any()
    half = net(torch.ones(1, 1), boxes, replace(graph, edge_weights=torch.tensor([0.5])), 32)
    assert_close(half.maps(32)[0, 0].detach(), drawn / 2)


def test_many_relations_are_masked_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    net, graph = layer(), _graph()
    ends = (graph.boxes[column] for column in graph.pairs.T)
    inputs = (vectors_of(5), *ends)
    at_once, sizes = net.train().masks(*inputs), []
    net.conv1.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    monkeypatch.setattr(relations, "MASKS_AT_ONCE", 2)
    assert_close(net.eval().masks(*inputs), at_once)
    assert sizes == [2, 2, 1]


def test_subject_and_object_are_told_apart() -> None:
    net, graph = layer(), _single(_graph(), 2)
    vectors = vectors_of(1).expand(2, -1)
    masks = net(vectors, graph.boxes, graph, 32).maps(32)
    one_way = replace(graph, edge_weights=torch.tensor([1.0, 0.0]))
    other_way = replace(graph, edge_weights=torch.tensor([0.0, 1.0]))
    first, second = (net(vectors, graph.boxes, g, 32).maps(32) for g in (one_way, other_way))
    assert masks.shape == (1, 6, 32, 32)
    assert float((first - second).detach().abs().max()) > 0.01


def test_joined_layouts_of_other_mask_sizes_are_summed() -> None:
    rng = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[0.1, 0.2, 0.6, 0.9], [0.0, 0, 1, 1], [0.3, 0.1, 0.8, 0.4]])
    vectors = torch.randn(3, 5, generator=rng)
    index = torch.tensor([0, 0, 1])

    def layout(masks: Tensor | None) -> Layout:
        return factor_layout(vectors, boxes, masks, index, 2, 8)

    parts = [None, torch.rand(3, 4, 4, generator=rng), torch.rand(3, 2, 2, generator=rng)]
    for first in parts:
        for second in parts:
            joined = joined_layouts(layout(first), layout(second))
            assert joined.vectors.shape == (2, 4, 5)
            assert_close(joined.maps(4), layout(first).maps(4) + layout(second).maps(4))


# Gradients ----------------------------------------------------------------------------------------


def test_gradients_are_those_of_the_formula() -> None:
    net = layer(2).double()
    boxes = torch.tensor(
        [[0.11, 0.07, 0.53, 0.9], [0.31, 0.23, 0.93, 0.77], [0.57, 0.17, 0.71, 0.43]],
        dtype=torch.float64,
    ).requires_grad_()
    vectors = vectors_of(2, 2).double().requires_grad_()
    weights = torch.tensor([0.4, 0.9], dtype=torch.float64).requires_grad_()
    graph = replace(
        _single(_graph(), 0), pairs=torch.tensor([[0, 1], [2, 1]]), edge_weights=weights
    )

    def drawn(v: Tensor, b: Tensor, w: Tensor) -> Tensor:
        return net(v, b, replace(graph, edge_weights=w), 6).maps(6)

    assert torch.autograd.gradcheck(drawn, (vectors, boxes, weights))


@pytest.mark.parametrize("mask", [0, 4])
def test_gradient_reaches_every_parameter_and_field(mask: int) -> None:
    generator = generator_of(replace(RELATED, mask_size=mask), train=True)
    fields = _with_grad(_graph())
    out = generator(replace(_graph(), **fields), generator.seeded_noise([1, 2, 3]))
    ((out.image - 0.3).abs().mean() + out.boxes.sum() + out.image_boxes.sum()).backward()
    assert_all_but_biases_before_norms_have_gradients(generator)
    assert all(p.grad is None or p.grad.any() for p in generator.parameters())
    for name, tensor in fields.items():
        assert tensor.grad is not None, name
        assert torch.isfinite(tensor.grad).all(), name
        assert tensor.grad.abs().sum() > 0, name


def test_a_relation_reaches_the_pixels_directly() -> None:
    """The last layer's predicate vectors, which sg2im's generator does not read, get a gradient."""
    grads = []
    for config in (SMALL, RELATED):
        generator = generator_of(config, train=True)
        generator(_graph()).image.mean().backward()
        assert generator.gconv_net is not None
        weight = generator.gconv_net.gconvs[-1].net1[2].weight
        assert weight.grad is not None
        hidden, dim = SMALL.gconv_hidden_dim, SMALL.gconv_dim
        grads.append(weight.grad[hidden : hidden + dim])
    assert not grads[0].any()
    assert grads[1].any()


# The generator ------------------------------------------------------------------------------------


def test_off_is_bit_identical_and_on_adds_these_weights_alone() -> None:
    plain, generator = generator_of(SMALL), generator_of()
    weights = plain.state_dict()
    same({n: v for n, v in generator.state_dict().items() if n in weights}, dict(weights))
    added = set(generator.state_dict()) - set(weights)
    assert added == {
        f"relation_net.{name}"
        for name in ("condition.weight", "condition.bias", "conv1.weight", "conv2.weight")
    } | {"relation_net.conv2.bias"}
    bare = without_relations(_graph())
    assert torch.equal(generator(bare).image, plain(bare).image)
    assert not torch.allclose(generator(_graph()).image, plain(_graph()).image, atol=1e-3)
    assert GeneratorConfig().relation_layout is False


@pytest.mark.parametrize("predicted", [False, True])
def test_batched_equals_one_by_one(predicted: bool) -> None:
    generator, graph = generator_of(), _graph()
    batched = generator(graph, generator.seeded_noise([3, 4, 5]), predicted)
    for image, seed in enumerate((3, 4, 5)):
        noise = generator.seeded_noise([seed])
        single = generator(_single(graph, image), noise, predicted)
        assert_close(single.image[0], batched.image[image], atol=1e-5, rtol=1e-4)


def test_relations_are_drawn_at_the_predicted_boxes_too() -> None:
    """Then the graph's own boxes are read by nothing."""
    generator, graph = generator_of(), _graph()
    moved = replace(graph, boxes=graph.boxes * 0.5 + 0.2)
    assert torch.equal(generator(moved, None, True).image, generator(graph, None, True).image)
    assert not torch.equal(generator(moved).image, generator(graph).image)


def test_renumbering_objects_and_edges() -> None:
    generator, graph = generator_of(), _graph()
    order, edges = torch.tensor([2, 0, 1, 4, 3]), torch.tensor([4, 2, 0, 1, 3])
    renumbered = replace(
        graph,
        objects=graph.objects[order],
        predicates=graph.predicates[edges],
        pairs=torch.argsort(order)[graph.pairs[edges]],
        edge_weights=graph.edge_weights[edges],
        object_weights=graph.object_weights[order],
        boxes=graph.boxes[order],
    )
    assert_close(generator(renumbered).image, generator(graph).image, atol=1e-5, rtol=1e-4)


def test_an_edge_of_weight_zero_is_no_edge() -> None:
    generator, graph = generator_of(), _graph()
    weights = torch.tensor([1.0, 0.0, 0.4, 0.0, 1.0])
    drawn = weights > 0
    names = ("predicates", "pairs")
    left = {name: getattr(graph, name)[drawn] for name in names}
    deleted = replace(graph, edge_weights=weights[drawn], **left)
    both = generator(replace(graph, edge_weights=weights)).image
    assert_close(both, generator(deleted).image, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("empty", [_empty_graph(2), without_relations(_graph())])
def test_no_relation_at_all_with_backward(empty: RelaxedGraph) -> None:
    generator = generator_of(train=True)
    fields: dict[str, Any] = {
        name: getattr(empty, name).clone().requires_grad_() for name in ("boxes", "edge_weights")
    }
    out = generator(replace(empty, **fields))
    out.image.mean().backward()
    assert torch.isfinite(out.image).all()
    assert generator.relation_net is not None
    for parameter in generator.relation_net.parameters():
        assert parameter.grad is not None  # every process has a gradient, also without relations
        assert not parameter.grad.any()


def test_boxes_without_area_have_finite_gradients() -> None:
    generator, graph = generator_of(train=True), _graph()
    boxes = graph.boxes.clone()
    boxes[:, 2] = boxes[:, 0]
    boxes[3:] = 0.5
    boxes.requires_grad_()
    generator(replace(graph, boxes=boxes)).image.sum().backward()
    assert boxes.grad is not None
    assert torch.isfinite(boxes.grad).all()


def test_bfloat16_with_backward() -> None:
    generator = generator_of(train=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image = generator(_graph()).image
    image.float().mean().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in generator.parameters())
    assert_close(image.float(), generator_of(train=True)(_graph()).image, atol=0.3, rtol=0.1)


def test_without_graph_convolutions_it_is_refused() -> None:
    with pytest.raises(InputError, match=r"relation_layout: expected false without graph conv"):
        GeneratorConfig(gconv_layers=0, relation_layout=True)
