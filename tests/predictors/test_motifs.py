"""Neural Motifs: orders, LSTMs, decoder, suppression, pairs, word vectors."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from autoenc_sg.config.predictor import MotifsConfig, PredictorConfig
from autoenc_sg.core.boxes import grid_coverage, to_unit_boxes, union_boxes
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.layers import ImageRandom
from autoenc_sg.core.structures import CandidatePairs, Regions
from autoenc_sg.predictors.motifs import Decoder, MotifsPredictor, suppressed
from autoenc_sg.predictors.parts.embeddings import ByImage
from autoenc_sg.predictors.parts.lstm import AlternatingHighwayLSTM, BidirectionalLSTM, HighwayCell
from autoenc_sg.training.start import start_words
from tests.support.graphs import C, D, P, one_image, random_pairs, random_regions, seeded

S, DIM = 3, 8


def motifs(**options: object) -> MotifsPredictor:
    torch.manual_seed(0)
    own = MotifsConfig(embedding_dim=4, **options)  # type: ignore[arg-type]
    config = PredictorConfig("motifs", DIM, motifs=own)
    return MotifsPredictor(config, D, S, C, P).eval()


def unions_of(pairs: CandidatePairs) -> Tensor:
    return torch.randn(len(pairs), D, S, S, generator=seeded(7))


def boxes_of(corners: list[list[float]]) -> Regions:
    regions = random_regions([len(corners)])
    return replace(regions, boxes=torch.tensor(corners))


@pytest.mark.parametrize(
    ("order", "expected"),
    [("leftright", [1, 2, 0]), ("size", [2, 0, 1]), ("confidence", [2, 1, 0])],
)
def test_the_orders_by_hand(order: str, expected: list[int]) -> None:
    """`leftright` reads from the right to the left."""
    regions = boxes_of([[0.0, 0, 10, 10], [50, 0, 55, 8], [20, 0, 60, 20]])
    places = motifs(order=order)._in_order(regions, torch.tensor([0.1, 0.5, 0.9]), None)
    assert places.table(torch.arange(3))[0].tolist() == expected


def test_a_random_order_is_drawn_in_training_and_fixed_otherwise() -> None:
    net, regions = motifs(order="random"), random_regions([5, 3])
    pairs = random_pairs(regions, 4)
    first = net(regions, pairs, unions_of(pairs)).object_logits
    assert torch.equal(first, net(regions, pairs, unions_of(pairs)).object_logits)
    alone = net(one_image(regions, 0), random_pairs(one_image(regions, 0), 4), unions_of(pairs)[:4])
    assert_close(first[:5], alone.object_logits)
    net.train()
    results = {
        tuple(net(regions, pairs, unions_of(pairs)).object_logits[0].tolist()) for _ in "123"
    }
    assert len(results) > 1


def test_a_highway_step_by_hand() -> None:
    cell = HighwayCell(1, 1)
    assert cell.states.bias[1] == 1
    with torch.no_grad():
        cell.inputs.weight.copy_(torch.tensor([[0.0], [0.0], [1.0], [0.0], [0.0], [3.0]]))
        cell.states.weight.zero_()
        cell.states.bias.zero_()
    h, c = cell.step(cell.inputs(torch.tensor([[2.0]])), (torch.zeros(1, 1), torch.ones(1, 1)))
    memory = 0.5 * 1 + 0.5 * math.tanh(2)
    assert_close(c.item(), memory)
    assert_close(h.item(), 0.5 * 0.5 * math.tanh(memory) + 0.5 * 6)


def test_highway_layers_alternate_directions_within_each_line() -> None:
    torch.manual_seed(0)
    net = AlternatingHighwayLSTM(3, 4, 2)
    rows, index = torch.randn(5, 3, generator=seeded(0)), torch.tensor([0, 0, 0, 2, 2])
    by_image = ByImage(index, 3)
    outputs = by_image.rows(net(by_image.table(rows), by_image))
    for image in (0, 2):
        line = list(rows[index == image][:, None])
        for layer, cell in enumerate(net.cells):
            assert isinstance(cell, HighwayCell)
            line = line if layer == 0 else line[::-1]
            state, read = cell.start(1, rows), []
            for x in line:
                state = cell.step(cell.inputs(x), state)
                read.append(state[0])
            line = read if layer == 0 else read[::-1]
        assert_close(outputs[index == image], torch.cat(line))


def test_the_bidirectional_lstm_reads_each_line_alone() -> None:
    torch.manual_seed(0)
    net = BidirectionalLSTM(3, 4, 2)
    rows, index = torch.randn(5, 3, generator=seeded(0)), torch.tensor([0, 0, 0, 2, 2])
    by_image = ByImage(index, 3)
    outputs = by_image.rows(net(by_image.table(rows), by_image))
    for image in (0, 2):
        assert_close(outputs[index == image], net.output(net.lstm(rows[index == image])[0]))


def test_dropout_of_the_states_has_one_mask_for_all_steps_of_an_image() -> None:
    torch.manual_seed(0)
    net = AlternatingHighwayLSTM(3, 6, 2, 0.5)
    rows, index = torch.randn(5, 3, generator=seeded(0)), torch.tensor([0, 0, 0, 1, 1])
    by_image = ByImage(index, 2)
    outputs = by_image.rows(net(by_image.table(rows), by_image, ImageRandom([3, 5])))
    dropped = outputs == 0
    assert 0 < int(dropped.sum()) < dropped.numel()
    for image in (0, 1):
        assert (dropped[index == image] == dropped[index == image][0]).all()
    assert not torch.equal(dropped[0], dropped[3])
    alone = ByImage(index[:3], 1)
    of_first = alone.rows(net(alone.table(rows[:3]), alone, ImageRandom([3])))
    assert_close(outputs[:3], of_first)
    in_use = net.eval()(by_image.table(rows), by_image, ImageRandom([3, 5]))
    assert_close(in_use, net(by_image.table(rows), by_image))


def test_a_mask_by_hand() -> None:
    """What is kept is divided by its share; the cell c is not dropped."""
    cell = HighwayCell(1, 40, 0.75)
    mask = cell.mask(2, ImageRandom([0, 1]))
    assert mask is not None
    assert mask.shape == (2, 40)
    assert set(mask.flatten().tolist()) == {0.0, 4.0}
    projected, state = torch.randn(2, 240), cell.start(2, torch.zeros(1))
    h, c = cell.step(projected, state, mask)
    plain_h, plain_c = cell.step(projected, state)
    assert_close(h, mask * plain_h)
    assert_close(c, plain_c)


def test_recurrent_dropout_changes_training_alone_and_wants_the_highway_lstm() -> None:
    regions = random_regions([3, 2])
    pairs = random_pairs(regions, 3)
    inputs = (regions, pairs, unions_of(pairs))
    net = motifs(lstm="highway", recurrent_dropout=0.3)
    plain = motifs(lstm="highway")
    assert_close(net(*inputs).predicate_logits, plain(*inputs).predicate_logits)
    net.train(), plain.train()
    random = [ImageRandom([1, 2]) for _ in range(3)]
    first, again = (net(*inputs, random=r) for r in random[:2])
    assert torch.equal(first.predicate_logits, again.predicate_logits)
    whole = plain(*inputs, random=random[2])
    assert not torch.allclose(first.predicate_logits, whole.predicate_logits)
    assert not torch.allclose(first.object_logits, whole.object_logits)
    expected = r"motifs\.recurrent_dropout: expected 0 unless predictor\.motifs\.lstm is highway"
    with pytest.raises(InputError, match=expected):
        MotifsConfig(recurrent_dropout=0.1)


def test_the_decoder_knows_the_label_before() -> None:
    torch.manual_seed(0)
    net = Decoder(DIM, 4, C)
    torch.nn.init.normal_(net.output.weight, std=5.0)  # labels are others than the detector's
    context, logits = torch.randn(5, DIM), torch.randn(5, C)
    keys = torch.tensor([1.0, 3.0, 2.0, 0.0, 5.0])
    decoded = net(context, logits, ByImage(torch.tensor([0, 0, 0, 2, 2]), 3, keys))
    for rows in ([1, 2, 0], [4, 3]):
        state, label = net.cell.start(1, context), 0
        for row in rows:
            inputs = torch.cat([context[row], net.words.weight[label]])[None]
            state = net.cell.step(net.cell.inputs(inputs), state)
            expected = logits[row] + net.output(state[0])[0]
            assert_close(decoded[row], expected)
            label = int(expected[1:].argmax()) + 1


def test_greedy_suppression_by_hand() -> None:
    """Boxes 0, 1 and 2 are near one another, 3 is far off.

    The surest is (0, class 1): 1 and 2 lose class 1. Then (3, class 1), which stays: it is far.
    Then (1, class 2): box 2 loses class 2, too, and is left with class 3.
    """
    near, far = [0.0, 0, 10, 10], [40.0, 0, 50, 10]
    boxes = torch.tensor([near, near, [0.0, 0, 10, 9], far])
    probabilities = torch.tensor(
        [
            [0.05, 0.90, 0.03, 0.02],
            [0.10, 0.60, 0.25, 0.05],
            [0.10, 0.50, 0.20, 0.20],
            [0.20, 0.70, 0.05, 0.05],
        ]
    )
    by_image = ByImage(torch.zeros(4, dtype=torch.int64), 1)
    after = suppressed(probabilities.log(), boxes, by_image, 0.3).exp()
    assert_close(after.sum(1), torch.ones(4))
    assert (after[:, 1:].argmax(1) + 1).tolist() == [1, 2, 3, 1]
    assert_close(after[0], probabilities[0])
    assert_close(after[1], torch.tensor([0.70, 0.0, 0.25, 0.05]))
    assert_close(after[2], torch.tensor([0.80, 0.0, 0.0, 0.20]))
    assert_close(after[3], probabilities[3])


def test_only_detections_are_suppressed() -> None:
    regions = boxes_of([[0.0, 0, 10, 10], [0.0, 0, 10, 10]])
    same = torch.tensor([[0.0, 6.0, 1.0, 0.0, 0.0], [0.0, 5.0, 1.0, 0.0, 0.0]])
    regions = replace(regions, class_logits=same)
    pairs = random_pairs(regions, 2)
    net = motifs()
    detected = net(regions, pairs, unions_of(pairs)).object_logits[:, 1:].argmax(1)
    given = net(replace(regions, given=True), pairs, unions_of(pairs)).object_logits
    assert detected.tolist()[0] != detected.tolist()[1]
    assert given[:, 1:].argmax(1).tolist() == [0, 0]
    net.train()
    assert_close(net(regions, pairs, unions_of(pairs)).object_logits, given)


@pytest.mark.parametrize("order", ["leftright", "confidence"])
def test_the_formulas_against_a_loop(order: str) -> None:
    """The surest objects are others after the decoder, whose share is large here."""
    net = motifs(pair_dim=6, order=order)
    assert net.decoder is not None
    torch.nn.init.normal_(net.decoder.output.weight, std=5.0)
    regions = replace(random_regions([4, 0, 3]), given=True)
    pairs = random_pairs(regions, 3)
    unions = unions_of(pairs)
    logits = net(regions, pairs, unions)
    unit = to_unit_boxes(regions.boxes, regions.image_sizes, regions.image_index)
    words = regions.class_logits.softmax(1) @ net.object_words.weight
    rows = torch.cat([regions.features, words, net.box_in(unit)], 1)
    ends: dict[int, Tensor] = {}
    for image in (0, 2):
        own = (regions.image_index == image).nonzero()[:, 0]
        if order == "leftright":
            own = own[(-regions.boxes[own][:, [0, 2]].sum(1)).argsort()]
        else:
            own = own[(-regions.class_logits[own].softmax(1)[:, 1:].amax(1)).argsort()]
        lstm = net.object_context
        assert isinstance(lstm, BidirectionalLSTM)
        context = lstm.output(lstm.lstm(rows[own])[0])
        line = ByImage(torch.zeros_like(own), 1)
        classes = net.decoder(context, regions.class_logits[own], line)
        assert_close(logits.object_logits[own], classes, atol=1e-5, rtol=1e-4)
        if order == "confidence":
            again = (-classes.softmax(1)[:, 1:].amax(1)).argsort()
            own, context, classes = own[again], context[again], classes[again]
        labels = classes[:, 1:].argmax(1) + 1
        assert net.label_words is not None
        assert net.visual is not None
        edge = net.edge_context
        assert isinstance(edge, BidirectionalLSTM)
        inputs = torch.cat([net.label_words(labels), context], 1)
        ends |= dict(zip(own.tolist(), net.ends(edge.output(edge.lstm(inputs)[0]))))
    for k, (i, j) in enumerate(pairs.pairs.tolist()):
        frame = union_boxes(regions.boxes, pairs.pairs[k : k + 1])
        masks = [grid_coverage(regions.boxes[e : e + 1], frame, 11)[0] for e in (i, j)]
        maps = unions[k] + net.visual.masks(torch.stack(masks)[None] - 0.5)[0]
        visual = net.visual.fc(F.relu(net.visual.bottleneck(maps[None])).flatten(1))[0]
        expected = net.relation_classifier(ends[i][:6] * ends[j][6:] * visual)
        assert_close(logits.predicate_logits[k], expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("size", [3, 5, 7])
def test_masks_become_maps_of_the_union_features_size(size: int) -> None:
    net = MotifsPredictor(PredictorConfig("motifs", DIM), D, size, C, P)
    assert net.visual is not None
    assert net.visual.mask_size == {3: 11, 5: 19, 7: 27}[size]
    masks = torch.zeros(1, 2, net.visual.mask_size, net.visual.mask_size)
    assert net.visual.masks(masks).shape == (1, D, size, size)


@pytest.mark.parametrize(
    "options",
    [{"object_layers": 0}, {"edge_layers": 0}, {"vision": False}, {"lstm": "highway"}],
    ids=str,
)
def test_ablations_have_an_effect_and_keep_all_gradients(options: dict[str, object]) -> None:
    regions = random_regions([3, 0, 2])
    pairs = random_pairs(regions, 3)
    net = motifs(**options).train()
    logits = net(regions, pairs, unions_of(pairs))
    (logits.predicate_logits.sum() + logits.object_logits.sum()).backward()
    assert all(p.grad is not None for p in net.parameters())
    whole = motifs().train()(regions, pairs, unions_of(pairs))
    assert not torch.allclose(logits.predicate_logits, whole.predicate_logits)
    if options == {"vision": False}:
        other = net(regions, pairs, 2 * unions_of(pairs)).predicate_logits
        assert_close(other, logits.predicate_logits)


def test_label_embeddings_start_from_word_vectors(tmp_path: Path) -> None:
    file = tmp_path / "words.npz"
    vectors = np.array([[3.0, 4.0], [0.0, 2.0]], dtype=np.float16)
    np.savez(file, words=np.array(["street", "sign"]), vectors=vectors)
    classes = ["__background__", "street", "tree", "street sign", "sign"]
    net = MotifsPredictor(
        PredictorConfig("motifs", DIM, motifs=MotifsConfig(embedding_dim=2)), D, S, C, P
    )
    before = net.object_words.weight.detach().clone()
    start_words(net, MotifsConfig(embedding_dim=2, word_vectors=str(file)), classes)
    assert net.decoder is not None
    assert net.label_words is not None
    for table in (net.object_words, net.label_words, net.decoder.words):
        assert_close(table.weight[1].detach(), torch.tensor([0.6, 0.8]))
        assert_close(table.weight[4].detach(), torch.tensor([0.0, 1.0]))
        assert_close(table.weight[3].detach(), F.normalize(torch.tensor([0.6, 1.8]), dim=0))
    assert torch.equal(net.object_words.weight[[0, 2]], before[[0, 2]])
    with pytest.raises(InputError, match=r"words\.npz: expected vectors of 3 numbers .*, got 2"):
        start_words(net, MotifsConfig(embedding_dim=3, word_vectors=str(file)), classes)
