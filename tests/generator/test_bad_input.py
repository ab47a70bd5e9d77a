"""Strange graphs through the generator's side: a clear error or a right picture, never NaN."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from autoenc_sg.cli.main import main
from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.images import as_tensor
from autoenc_sg.core.relaxed_graph import RelaxedGraph
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.scene_graph_batch import SceneGraphBatch
from autoenc_sg.generator import Generator, ObjectDiscriminator
from autoenc_sg.generator.heads import MASKS_AT_ONCE, MaskHead
from autoenc_sg.model.autoencoder import AutoEncoder

CLASSES, PREDICATES = 6, 4
CONFIG = GeneratorConfig(
    image_size=32,
    embedding_dim=8,
    gconv_dim=8,
    gconv_hidden_dim=12,
    gconv_layers=2,
    mask_size=4,
    refinement_dims=(8, 6),
    object_discriminator_dims=(8, 6),
)


def a_graph(boxes: Tensor, triples: list[list[int]]) -> SceneGraph:
    labels = torch.arange(len(boxes)) % (CLASSES - 1) + 1
    ends = torch.tensor(triples, dtype=torch.int64).reshape(-1, 3)
    return SceneGraph(labels, boxes, ends, (20, 40))


def relaxed(*graphs: SceneGraph) -> RelaxedGraph:
    return RelaxedGraph.from_graph(SceneGraphBatch.collate(graphs), CLASSES, PREDICATES)


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(CONFIG, CLASSES, PREDICATES).eval()


BOXES = torch.tensor([[0.0, 0, 20, 10], [10, 5, 40, 20], [3, 3, 9, 15]])


def test_a_box_of_no_area_covers_nothing_and_still_speaks(generator: Generator) -> None:
    flat = BOXES.clone()
    flat[2] = torch.tensor([9.0, 3, 9, 15])
    generated = generator(relaxed(a_graph(flat, [[2, 1, 0]])))
    assert generated.image.isfinite().all()
    hidden = relaxed(a_graph(flat, [[2, 1, 0]]))
    hidden = replace(hidden, boxes=hidden.boxes.clone())
    hidden.boxes[2] = 0.5  # no area elsewhere: the same picture
    torch.testing.assert_close(generator(hidden).image, generated.image)
    silent = generator(relaxed(a_graph(flat[:2], [])))
    assert not torch.allclose(silent.vectors, generated.vectors[:2])


def test_a_self_relation_is_an_edge_from_and_to_one_object(generator: Generator) -> None:
    graph = relaxed(a_graph(BOXES, [[1, 2, 1], [0, 1, 2]]))
    generated = generator(graph)
    assert generated.image.isfinite().all()
    conv = generator.gconv
    objects = graph.objects @ generator.obj_embeddings.weight[:-1]
    predicates = graph.predicates @ generator.pred_embeddings.weight
    got, _ = conv(objects, predicates, graph.pairs, graph.edge_weights)
    message = conv.net1(torch.cat([objects[1], predicates[0], objects[1]])[None])  # type: ignore[operator]
    subject, _, object_ = message.split(conv.widths, 1)  # type: ignore[arg-type]
    expected = conv.net2((subject + object_) / 2)  # type: ignore[operator]
    torch.testing.assert_close(got[1:2], expected)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.sampled_from([-1e6, -3.0, 0.0, 1e-4, 7.0, 39.999, 40.0, 1e6])] * 4),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 1000),
)
def test_any_boxes_give_finite_pictures_and_gradients(
    corners: list[tuple[float, ...]], seed: int
) -> None:
    torch.manual_seed(seed)
    generator = Generator(CONFIG, CLASSES, PREDICATES)
    pairs = torch.tensor(corners).reshape(-1, 2, 2)
    boxes = torch.cat([pairs.amin(1), pairs.amax(1)], 1)
    graph = relaxed(a_graph(boxes, [[0, 1, len(boxes) - 1]]), SceneGraph.empty((8, 8)))
    graph = replace(graph, boxes=graph.boxes.requires_grad_())
    for predicted in (False, True):
        generated = generator(graph, generator.noise(2), use_predicted_boxes=predicted)
        judge = ObjectDiscriminator(CONFIG, CLASSES)
        scores, classes = judge(generated.image, graph.boxes, graph.image_index)
        (generated.image.sum() + scores.sum() + classes.sum() + generated.boxes.sum()).backward()
        assert generated.image.isfinite().all()
        assert graph.boxes.grad is not None
        assert graph.boxes.grad.isfinite().all()
        for name, value in generator.named_parameters():
            assert value.grad is None or value.grad.isfinite().all(), name


@pytest.mark.parametrize("triples", [[[0, 1, 3]], [[-1, 1, 0]]])
def test_an_object_that_is_not_there(triples: list[list[int]]) -> None:
    with pytest.raises(InputError, match=r"triples' objects: expected 0\.\.2, got"):
        a_graph(BOXES, triples)


def test_ids_beyond_the_vocabulary(tiny_run: Path) -> None:
    model = AutoEncoder.from_checkpoint(tiny_run / "run" / "checkpoint.safetensors")
    many = model.vocabulary.num_objects
    graph = replace(a_graph(BOXES, []), labels=torch.tensor([1, 2, many]))
    with pytest.raises(InputError, match=f"object id: expected below {many}, got {many}"):
        model.render(graph)
    graph = a_graph(BOXES, [[0, model.vocabulary.num_predicates, 1]])
    with pytest.raises(InputError, match="predicate id: expected below"):
        model.render(graph)


@pytest.mark.parametrize("count", [0, 3])
def test_no_relations_is_a_graph_of_its_image_alone(generator: Generator, count: int) -> None:
    graph = relaxed(a_graph(BOXES[:count], []))
    generated = generator(graph)
    assert generated.image.shape == (1, 3, 32, 32)
    assert generated.image.isfinite().all()
    assert generated.boxes.shape == (count, 4)


def test_masks_of_a_crowd_are_made_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head, vectors = MaskHead(6, 4).eval(), torch.randn(MASKS_AT_ONCE + 3, 6)
    chunk_sizes: list[int] = []
    plain = MaskHead._masks

    def counted(self: MaskHead, x: Tensor) -> Tensor:
        chunk_sizes.append(len(x))
        return plain(self, x)

    monkeypatch.setattr(MaskHead, "_masks", counted)
    got = head(vectors)
    assert chunk_sizes == [MASKS_AT_ONCE, 3]
    layers = torch.nn.Sequential.forward(head, vectors[:, :, None, None])
    torch.testing.assert_close(got, layers[:, 0].sigmoid())
    assert head(vectors[:0]).shape == (0, 4, 4)
    chunk_sizes.clear()
    head.train()
    head(vectors)
    assert chunk_sizes == [MASKS_AT_ONCE + 3]  # batch statistics are of all objects


def test_ten_thousand_objects_through_the_command(tiny_run: Path, tmp_path: Path) -> None:
    count = 10_000
    rng = torch.Generator().manual_seed(0)
    corners = torch.rand(count, 2, generator=rng) * 60
    crowd = {
        "objects": ["tree"] * count,
        "relationships": [[i, "near", i + 1] for i in range(count - 1)],
        "boxes": torch.cat([corners, corners + 4], 1).tolist(),
        "image_size": [64, 64],
    }
    file = tmp_path / "crowd.json"
    file.write_text(json.dumps(crowd))
    checkpoint = str(tiny_run / "run" / "checkpoint.safetensors")
    assert main(["generate", checkpoint, str(file), "--out", str(tmp_path / "out")]) == 0
    image = Image.open(tmp_path / "out" / "crowd.png")
    stored = json.loads(image.text["scene graph"])  # type: ignore[attr-defined]
    assert len(stored["objects"]) == count
    assert as_tensor(image).std() > 0
