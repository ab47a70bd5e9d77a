"""From one refinement module to as many as the picture has halvings."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.generator import Generator, PatchDiscriminator
from autoenc_sg.generator.refinement import RefinementNetwork
from tests.support.gradients import assert_all_but_biases_before_norms_have_gradients
from tests.support.graphs import C, P, random_batch

HALVINGS = {32: 5, 64: 6, 128: 7, 256: 8}


def config_of(size: int, depth: int) -> GeneratorConfig:
    return GeneratorConfig(
        image_size=size,
        embedding_dim=4,
        gconv_dim=6,
        gconv_hidden_dim=8,
        gconv_layers=2,
        mask_size=4,
        layout_noise_dim=2,
        refinement_dims=(5,) * depth,
        normalization="none",
        discriminator_dims=(4, 4),
    )


@pytest.mark.parametrize("size", HALVINGS)
@pytest.mark.parametrize("deepest", [False, True])
def test_shallowest_and_deepest_draw_and_learn(size: int, deepest: bool) -> None:
    depth = HALVINGS[size] if deepest else 1
    torch.manual_seed(0)
    config = config_of(size, depth)
    generator = Generator(config, C, P)
    refinement = generator.refinement_net
    assert refinement.input_side == size // 2**depth
    assert refinement.levels == [refinement.input_side * 2**k for k in range(1, depth + 1)]
    assert (refinement.input_side == 1) == deepest

    graph = RelaxedGraph.from_graph(random_batch([(3, 2), (0, 0)]), C, P)
    noise = generator.noise(2)
    assert noise.input is not None
    assert noise.input.shape == (2, 1, refinement.input_side, refinement.input_side)
    generated = generator(graph, noise)
    assert generated.image.shape == (2, 3, size, size)
    scores = PatchDiscriminator(config)(generated.image, generated.layout)
    (generated.image.square().mean() + scores.mean()).backward()
    assert_all_but_biases_before_norms_have_gradients(refinement)
    first = refinement.refinement_modules[0].net[0].weight
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_every_depth_against_the_plain_way(depth: int) -> None:
    """Concatenate the pooled layout, the noise and the enlarged features, and convolve."""
    torch.manual_seed(0)
    net = RefinementNetwork(6, 2, (5,) * depth, 32, "none", "leakyrelu-0.2").double()
    generator = Generator(config_of(32, depth), C, P).double()
    graph = RelaxedGraph.from_graph(random_batch([(3, 2), (1, 0)]), C, P)
    graph = RelaxedGraph(
        graph.objects.double(),
        graph.predicates.double(),
        graph.pairs,
        graph.edge_weights.double(),
        graph.object_weights.double(),
        graph.boxes.double(),
        graph.image_index,
        graph.num_images,
    )
    layout = generator(graph).factors
    noise = torch.randn(2, 2, 32, 32).double()
    features = torch.randn(2, 1, net.input_side, net.input_side).double()
    drawn = net(layout, noise, features)
    whole = torch.cat([layout.maps(32), noise], 1)
    for module, side in zip(net.refinement_modules, net.levels):
        pooled = F.avg_pool2d(whole, 32 // side)
        features = module.net(torch.cat([pooled, F.interpolate(features, scale_factor=2.0)], 1))
    assert_close(drawn, net.output_conv(features))
