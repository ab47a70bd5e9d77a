"""The generator as a whole."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.generator import Generator, GeneratorNoise
from tests.support.gradients import assert_all_but_biases_before_norms_have_gradients

SMALL = GeneratorConfig(
    image_size=32,
    embedding_dim=12,
    gconv_dim=16,
    gconv_hidden_dim=24,
    gconv_layers=3,
    mask_size=4,
    layout_noise_dim=2,
    refinement_dims=(12, 8),
)
CLASSES, PREDICATES = 7, 5
PAIRS = [[0, 1], [2, 0], [1, 2], [3, 4], [4, 3]]


def _graph(seed: int = 0) -> RelaxedGraph:
    """Three objects in image 0, none in 1, two in 2; soft classes, predicates and weights."""
    rng = torch.Generator().manual_seed(seed)

    def distribution(rows: int, width: int) -> Tensor:
        logits = torch.randn(rows, width - 1, generator=rng)
        return F.pad(logits.softmax(1), (1, 0))

    corner = torch.rand(5, 2, generator=rng) * 0.5
    return RelaxedGraph(
        distribution(5, CLASSES),
        distribution(5, PREDICATES),
        torch.tensor(PAIRS),
        torch.rand(5, generator=rng),
        torch.rand(5, generator=rng) * 0.5 + 0.5,
        torch.cat([corner, corner + 0.4], 1),
        torch.tensor([0, 0, 0, 2, 2]),
        3,
    )


def _empty_graph(images: int) -> RelaxedGraph:
    graph = _graph()
    names = ("objects", "predicates", "pairs", "edge_weights", "object_weights", "boxes")
    none = {name: getattr(graph, name)[:0] for name in (*names, "image_index")}
    return replace(graph, **none, num_images=images)


def _generator(config: GeneratorConfig = SMALL, train: bool = False) -> Generator:
    torch.manual_seed(0)
    return Generator(config, CLASSES, PREDICATES).train(train)


def _sg2im_shapes() -> dict[str, tuple[int, ...]]:
    """Visual Genome's default generator: 179 objects, 46 predicates (reference, 2.2)."""
    shapes: dict[str, tuple[int, ...]] = {
        "obj_embeddings.weight": (180, 128),
        "pred_embeddings.weight": (46, 128),
    }

    def with_bias(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = shape[:1]

    def batch_norm(name: str, width: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (width,)
        shapes[f"{name}.num_batches_tracked"] = ()

    for layer in ("gconv", *(f"gconv_net.gconvs.{k}" for k in range(4))):
        with_bias(f"{layer}.net1.0", 512, 384)
        with_bias(f"{layer}.net1.2", 1152, 512)
        with_bias(f"{layer}.net2.0", 512, 512)
        with_bias(f"{layer}.net2.2", 128, 512)
    with_bias("box_net.0", 512, 128)
    with_bias("box_net.2", 4, 512)
    for k in range(4):
        batch_norm(f"mask_net.{4 * k + 1}", 128)
        with_bias(f"mask_net.{4 * k + 2}", 128, 128, 3, 3)
    with_bias("mask_net.16", 1, 128, 1, 1)
    for k, (d_in, d_out) in enumerate(
        [(161, 1024), (1184, 512), (672, 256), (416, 128), (288, 64)]
    ):
        net = f"refinement_net.refinement_modules.{k}.net"
        with_bias(f"{net}.0", d_out, d_in, 3, 3)
        batch_norm(f"{net}.1", d_out)
        with_bias(f"{net}.3", d_out, d_out, 3, 3)
        batch_norm(f"{net}.4", d_out)
    with_bias("refinement_net.output_conv.0", 64, 64, 3, 3)
    with_bias("refinement_net.output_conv.2", 3, 64, 1, 1)
    return shapes


def test_names_and_shapes_are_sg2im_s() -> None:
    with torch.device("meta"):
        generator = Generator(GeneratorConfig(layout_noise_dim=32), 179, 46)
    got = {name: tuple(value.shape) for name, value in generator.state_dict().items()}
    assert got == _sg2im_shapes()
    # all of sg2im's parameters but those of its unused head: (264 + 1) x 512 + (512 + 1) x 46
    assert sum(p.numel() for p in generator.parameters()) == 28_182_582 - 135_680 - 23_598


@pytest.mark.parametrize(
    ("layers", "present", "absent"),
    [(0, "gconv.weight", "gconv_net"), (1, "gconv.net1.0.weight", "gconv_net")],
)
def test_few_graph_convolutions(layers: int, present: str, absent: str) -> None:
    generator = _generator(replace(SMALL, gconv_layers=layers))
    names = list(generator.state_dict())
    assert present in names
    assert not any(name.startswith(absent) for name in names)
    assert torch.isfinite(generator(_graph()).image).all()


@pytest.mark.parametrize("size", [32, 64, 128, 256])
@pytest.mark.parametrize("mask", [0, 8])
def test_sizes(size: int, mask: int) -> None:
    config = replace(SMALL, image_size=size, mask_size=mask, refinement_dims=(8, 6, 4))
    out = _generator(config, train=True)(_graph())
    assert out.image.shape == (3, 3, size, size)
    assert out.layout.shape == (3, 16, size, size)
    assert out.boxes.shape == (5, 4)
    assert out.image_boxes.shape == (3, 4)
    assert out.vectors.shape == (5, 16)
    if mask:
        assert out.masks is not None
        assert out.masks.shape == (5, mask, mask)
    else:
        assert out.masks is None


def test_vectors_and_layout_by_hand() -> None:
    # Without graph convolution and with the identity in its place, vectors are the embeddings.
    config = replace(SMALL, gconv_layers=0, gconv_dim=12, mask_size=0)
    generator = _generator(config)
    assert isinstance(generator.gconv, torch.nn.Linear)
    with torch.no_grad():
        generator.gconv.weight.copy_(torch.eye(12))
        generator.gconv.bias.zero_()
    graph = _graph()
    out = generator(graph)
    embeddings = generator.obj_embeddings.weight
    torch.testing.assert_close(out.vectors, graph.objects @ embeddings[:CLASSES])
    # image 1 has no object: its layout is the `__image__` node's vector everywhere
    expected = embeddings[0][:, None, None].expand(12, 32, 32)
    torch.testing.assert_close(out.layout[1], expected)


def test_image_is_the_network_s_output_in_rgb() -> None:
    generator, graph = _generator(), _graph()
    with torch.no_grad():
        last = generator.refinement_net.output_conv[2]
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.0, 1.0, -1.0]))
    image = generator(graph).image
    torch.testing.assert_close(
        image[0, :, 3, 4], torch.tensor([0.485, 0.456 + 0.224, 0.406 - 0.225])
    )


def _single(graph: RelaxedGraph, image: int) -> RelaxedGraph:
    in_image = graph.image_index == image
    edges = in_image[graph.pairs[:, 0]]
    first = int((graph.image_index < image).sum())
    return RelaxedGraph(
        graph.objects[in_image],
        graph.predicates[edges],
        graph.pairs[edges] - first,
        graph.edge_weights[edges],
        graph.object_weights[in_image],
        graph.boxes[in_image],
        torch.zeros(int(in_image.sum()), dtype=torch.int64),
        1,
    )


@pytest.mark.parametrize("predicted", [False, True])
def test_batched_equals_one_by_one(predicted: bool) -> None:
    generator, graph = _generator(), _graph()
    batched = generator(graph, generator.seeded_noise([3, 4, 5]), predicted)
    for image, seed in enumerate((3, 4, 5)):
        noise = generator.seeded_noise([seed])
        single = generator(_single(graph, image), noise, predicted)
        in_image = graph.image_index == image
        torch.testing.assert_close(single.image[0], batched.image[image], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(single.boxes, batched.boxes[in_image])
        torch.testing.assert_close(single.masks, batched.masks[in_image])


def test_renumbering_objects_and_edges() -> None:
    generator, graph = _generator(), _graph()
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
    out, again = generator(graph), generator(renumbered)
    torch.testing.assert_close(again.image, out.image, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(again.boxes, out.boxes[order])
    torch.testing.assert_close(again.masks, out.masks[order])
    torch.testing.assert_close(again.vectors, out.vectors[order])


def test_an_edge_of_weight_zero_is_no_edge() -> None:
    generator, graph = _generator(), _graph()
    weights = torch.tensor([1.0, 0.0, 0.4, 0.0, 1.0])
    has_weight = weights > 0
    deleted = replace(
        graph,
        predicates=graph.predicates[has_weight],
        pairs=graph.pairs[has_weight],
        edge_weights=weights[has_weight],
    )
    torch.testing.assert_close(
        generator(replace(graph, edge_weights=weights)).image, generator(deleted).image
    )


def test_an_object_of_weight_zero_without_edges_is_no_object() -> None:
    generator, graph = _generator(), _graph()
    graph = _single(graph, 0)
    alone = replace(
        graph,
        predicates=graph.predicates[:1],  # only 0 -> 1
        pairs=graph.pairs[:1],
        edge_weights=graph.edge_weights[:1],
        object_weights=torch.tensor([1.0, 0.5, 0.0]),
    )
    names = ("objects", "object_weights", "boxes", "image_index")
    deleted = replace(alone, **{name: getattr(alone, name)[:2] for name in names})
    torch.testing.assert_close(generator(alone).image, generator(deleted).image)


def test_relations_and_weights_change_the_picture() -> None:
    generator, graph = _generator(), _graph()
    image = generator(graph).image
    for name in ("predicates", "edge_weights", "object_weights", "boxes", "objects"):
        changed = replace(graph, **{name: getattr(graph, name).flip(0) * 0.9})
        assert not torch.allclose(generator(changed).image[0], image[0], atol=1e-4), name


def test_given_masks_are_drawn() -> None:
    generator, graph = _generator(), _graph()
    nothing = generator(replace(graph, masks=torch.zeros(5, 8, 8))).layout
    torch.testing.assert_close(
        nothing, nothing[:, :, :1, :1].expand_as(nothing)
    )  # image nodes only
    filled = generator(replace(graph, masks=torch.ones(5, 4, 4)))
    assert not torch.allclose(filled.image, generator(graph).image)


def test_predicted_boxes_are_drawn_if_asked_for() -> None:
    generator, graph = _generator(), _graph()
    out = generator(graph, use_predicted_boxes=True)
    moved = generator(replace(graph, boxes=graph.boxes * 0.5), use_predicted_boxes=True)
    torch.testing.assert_close(moved.image, out.image)
    assert not torch.allclose(generator(graph).image, out.image)


def _with_grad(graph: RelaxedGraph) -> dict[str, Tensor]:
    names = ("objects", "predicates", "edge_weights", "object_weights", "boxes")
    return {name: getattr(graph, name).clone().requires_grad_() for name in names}


@pytest.mark.parametrize("mask", [0, 4])
def test_gradient_reaches_every_parameter_and_field(mask: int) -> None:
    generator = _generator(replace(SMALL, mask_size=mask), train=True)
    fields = _with_grad(_graph())
    out = generator(replace(_graph(), **fields), generator.seeded_noise([1, 2, 3]))
    ((out.image - 0.3).abs().mean() + out.boxes.sum() + out.image_boxes.sum()).backward()
    assert_all_but_biases_before_norms_have_gradients(generator)
    assert all(p.grad is None or p.grad.any() for p in generator.parameters())
    for name, tensor in fields.items():
        assert tensor.grad is not None, name
        assert torch.isfinite(tensor.grad).all(), name
        assert tensor.grad.abs().sum() > 0, name


def test_predicted_boxes_pass_gradient() -> None:
    generator = _generator()
    generator(_graph(), use_predicted_boxes=True).image.sum().backward()
    weight = generator.box_net[2].weight
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0


@pytest.mark.parametrize("images", [1, 2])
def test_images_without_objects_with_backward(images: int) -> None:
    generator = _generator(train=True)
    out = generator(_empty_graph(images))
    (out.image.mean() + out.boxes.sum()).backward()
    assert out.image.shape == (images, 3, 32, 32)
    assert out.boxes.shape == (0, 4)
    assert out.masks is not None
    assert out.masks.shape == (0, 4, 4)
    assert_all_but_biases_before_norms_have_gradients(generator.refinement_net)


def test_a_graph_without_relations_with_backward() -> None:
    generator, graph = _generator(train=True), _graph()
    none = replace(
        graph,
        predicates=graph.predicates[:0],
        pairs=graph.pairs[:0],
        edge_weights=graph.edge_weights[:0].requires_grad_(),
    )
    out = generator(none)
    out.image.mean().backward()
    assert torch.isfinite(out.image).all()


def test_no_image_is_an_error() -> None:
    with pytest.raises(InputError, match="graphs to draw: expected one or more, got 0"):
        _generator()(_empty_graph(0))


def test_a_graph_of_another_vocabulary_is_an_error() -> None:
    with pytest.raises(InputError, match=r"expected \(8, 5\), got \(7, 5\)"):
        Generator(SMALL, CLASSES + 1, PREDICATES)(_graph())


def test_the_same_seed_gives_the_same_picture() -> None:
    generator, graph = _generator(), _graph()
    image = generator(graph, generator.seeded_noise([1, 2, 3])).image
    again = generator(graph, generator.seeded_noise([1, 2, 3])).image
    other = generator(graph, generator.seeded_noise([1, 2, 4])).image
    torch.testing.assert_close(again, image, rtol=0, atol=0)
    torch.testing.assert_close(other[:2], image[:2])
    assert not torch.allclose(other[2], image[2])


def test_noise_shapes_and_generator() -> None:
    generator = _generator()
    noise = generator.noise(4, torch.Generator().manual_seed(0))
    again = generator.noise(4, torch.Generator().manual_seed(0))
    assert noise.input is not None
    assert noise.layout is not None
    assert again.layout is not None
    assert noise.input.shape == (4, 1, 8, 8)
    assert noise.layout.shape == (4, 2, 32, 32)
    torch.testing.assert_close(noise.layout, again.layout)
    silent = _generator(replace(SMALL, input_noise=False, layout_noise_dim=0))
    assert silent.seeded_noise([1]).input is None
    assert silent.seeded_noise([1]).layout is None


def test_no_noise_is_zeros() -> None:
    generator, graph = _generator(), _graph()
    zeros = GeneratorNoise(torch.zeros(3, 1, 8, 8), torch.zeros(3, 2, 32, 32))
    torch.testing.assert_close(generator(graph).image, generator(graph, zeros).image)


def test_bfloat16_with_backward() -> None:
    generator, graph = _generator(train=True), _graph()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = generator(graph, generator.seeded_noise([1, 2, 3]))
    out.image.float().mean().backward()
    full = _generator(train=True)
    expected = full(graph, full.seeded_noise([1, 2, 3]))
    assert float((out.image.float() - expected.image).detach().abs().mean()) < 0.03
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in generator.parameters())


@pytest.mark.gpu
def test_the_same_picture_on_the_gpu() -> None:
    generator, graph = _generator(), _graph()
    noise = generator.seeded_noise([1, 2, 3])
    expected = generator(graph, noise)
    got = generator.cuda()(graph.to("cuda"), generator.seeded_noise([1, 2, 3]))
    torch.testing.assert_close(got.image.cpu(), expected.image, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(got.layout.cpu(), expected.layout, atol=1e-4, rtol=1e-4)
