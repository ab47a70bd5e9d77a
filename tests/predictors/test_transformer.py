"""The transformer head, and rows of images in tables."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from autoenc_sg.config.predictor import PredictorConfig, TransformerConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.predictors.parts.embeddings import ByImage
from autoenc_sg.predictors.transformer import EncoderLayer, TransformerPredictor, encode
from tests.support.graphs import C, D, P, random_pairs, random_regions, seeded


def test_rows_by_image_and_back() -> None:
    index = torch.tensor([2, 0, 2, 2])
    by_image = ByImage(index, 4)
    rows = torch.tensor([[1.0], [2.0], [3.0], [4.0]])
    expected = [[2.0, 0, 0], [0.0, 0, 0], [1.0, 3, 4], [0.0, 0, 0]]
    assert by_image.table(rows)[:, :, 0].tolist() == expected
    assert by_image.is_row.sum(1).tolist() == [1, 0, 3, 0]
    assert torch.equal(by_image.rows(by_image.table(rows)), rows)
    assert ByImage(index[:0], 2).table(rows[:0]).shape == (2, 1, 1)


def test_a_layer_is_the_published_one() -> None:
    """Against PyTorch's layer with the same weights, on images of 3, 0 and 2 objects."""
    torch.manual_seed(0)
    layer = EncoderLayer(8, 2, 12)
    other = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
    pairs = [
        (other.self_attn.in_proj_weight, layer.inputs.weight),
        (other.self_attn.in_proj_bias, layer.inputs.bias),
        (other.self_attn.out_proj.weight, layer.output.weight),
        (other.self_attn.out_proj.bias, layer.output.bias),
        (other.linear1.weight, layer.feed_forward[0].weight),
        (other.linear1.bias, layer.feed_forward[0].bias),
        (other.linear2.weight, layer.feed_forward[2].weight),
        (other.linear2.bias, layer.feed_forward[2].bias),
    ]
    with torch.no_grad():
        for target, source in pairs:
            assert isinstance(source, torch.Tensor)
            target.copy_(source)
    rows = torch.randn(5, 8, generator=seeded(0))
    index = torch.tensor([0, 0, 0, 2, 2])
    encoded = encode(nn.ModuleList([layer]), rows, ByImage(index, 3))
    for image in (0, 2):
        assert_close(encoded[index == image], other(rows[index == image][None])[0])


def test_what_follows_the_encoders_against_a_loop() -> None:
    torch.manual_seed(0)
    options = TransformerConfig(relation_layers=0, heads=2)
    config = PredictorConfig("transformer", 8, steps=0, transformer=options)
    net = TransformerPredictor(config, D, C, P).eval()
    regions = random_regions([3, 2])
    pairs = random_pairs(regions, 3)
    unions = torch.randn(len(pairs), D, 3, 3, generator=seeded(1))
    logits = net(regions, pairs, unions)
    objects = net.object_in(regions)
    classes = regions.class_logits + net.object_classifier(objects)
    assert_close(logits.object_logits, classes)
    columns = net.labels.weight.T
    labels = [
        torch.stack([p * e for p, e in zip(row, columns)]).sum(0) for row in classes.softmax(1)
    ]
    context = [net.relation_in(torch.cat([o, e])) for o, e in zip(objects, labels)]
    ends = [net.ends(c) for c in context]
    visual = net.union_in(regions, pairs.pairs, unions).mean((2, 3))
    for k, (i, j) in enumerate(pairs.pairs.tolist()):
        joined = net.join(torch.cat([ends[i][:8], ends[j][8:]])) * visual[k]
        assert_close(logits.predicate_logits[k], net.relation_classifier(joined))


def test_relation_layers_see_the_labels() -> None:
    torch.manual_seed(0)
    net = TransformerPredictor(PredictorConfig("transformer", 8), D, C, P).eval()
    assert len(net.object_layers) == 4
    assert len(net.relation_layers) == 2
    regions = random_regions([3])
    pairs = random_pairs(regions, 4)
    unions = torch.randn(len(pairs), D, 3, 3, generator=seeded(1))
    before = net(regions, pairs, unions).predicate_logits
    with torch.no_grad():
        net.labels.weight.add_(torch.randn(8, C, generator=seeded(2)))
    assert not torch.allclose(net(regions, pairs, unions).predicate_logits, before)


def test_heads_divide_the_width() -> None:
    with pytest.raises(InputError, match=r"transformer\.heads: expected a divisor of .* 20, got 8"):
        PredictorConfig("transformer", 20)
    assert PredictorConfig("gcn", 20).dim == 20
