"""Weights of sg2im: read without running them, the same pictures, and written back."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autoenc_sg.cli.main import main
from autoenc_sg.config.model import GeneratorConfig
from autoenc_sg.config.run import RunConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.graph_json import graph_from_json
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.coco.geometric_relations import GEOMETRIC_PREDICATES
from autoenc_sg.generator import Generator
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.training.start import Start, build_model
from autoenc_sg.weights.checkpoint import (
    CHECKPOINT,
    Checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from autoenc_sg.weights.sg2im import export_file, export_sg2im, import_sg2im
from tests.support.files.sg2im_files import SIZES, full, model_state, stripped, vocab
from tests.support.tiny import same


def saved(folder: Path, content: Any, legacy: bool = False) -> Path:
    path = folder / "vg.pt"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def without(state: dict[str, Any], suffix: str) -> dict[str, Any]:
    return {name: value for name, value in state.items() if not name.endswith(suffix)}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("layout", [stripped, full])
def test_both_layouts_are_read(layout: Any, legacy: bool, tmp_path: Path) -> None:
    converted = import_sg2im(saved(tmp_path, layout(), legacy))
    checkpoint = converted.content
    assert converted.notes == ()
    assert checkpoint.vocabulary.objects == ("__background__", "cat", "dog", "sky", "tree")
    assert checkpoint.vocabulary.predicates == ("__background__", "near", "above")
    config = checkpoint.config.generator
    assert (config.image_size, config.mask_size, config.refinement_dims) == (32, 4, (12, 8))
    assert (config.layout_noise_dim, config.input_noise) == (3, False)
    assert (config.discriminator_dims, config.object_size) == ((4, 6), 16)
    state = model_state()
    for name, value in state.items():
        if not name.startswith("rel_aux_net"):
            assert torch.equal(checkpoint.model[f"generator.{name}"], value), name
    assert len(checkpoint.model) == sum(not n.startswith("rel_aux_net") for n in state)


def test_a_decoder_renders_and_does_not_parse(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "c.pt", import_sg2im(saved(tmp_path, stripped())).content)
    model = AutoEncoder.from_checkpoint(tmp_path / "c.pt")
    data = {"objects": ["cat", "sky"], "relationships": [[1, "above", 0]]}
    graph = graph_from_json(data, model.vocabulary)
    picture = model.render(graph, seed=3, predict_boxes=True)
    assert picture.size == (32, 32)
    assert picture.tobytes() == model.render(graph, seed=3, predict_boxes=True).tobytes()
    assert picture.tobytes() != model.render(graph, seed=4, predict_boxes=True).tobytes()
    with pytest.raises(InputError, match="parse: expected a model with an encoder, got a decoder"):
        model.parse(picture)


def test_prefixes_missing_counters_and_old_arguments(tmp_path: Path) -> None:
    plain = import_sg2im(saved(tmp_path, stripped())).content
    old = stripped()
    old["model_kwargs"] |= {"vec_noise_dim": 0, "gconv_mode": "x", "box_anchor": None}
    for key in ("model_state", "d_obj_state", "d_img_state"):
        old[key] = {f"module.{n}": v for n, v in without(old[key], "num_batches_tracked").items()}
    found = import_sg2im(saved(tmp_path, old)).content
    for got, wanted in (
        (found.model, plain.model),
        (found.training["discriminator"], plain.training["discriminator"]),
    ):
        assert got.keys() == wanted.keys()
        for name in wanted:
            if name.endswith("num_batches_tracked"):
                assert int(got[name]) == 0
            else:
                assert torch.equal(got[name], wanted[name])


def test_exported_and_imported_again_is_bit_equal(tmp_path: Path) -> None:
    original = stripped()
    first = import_sg2im(saved(tmp_path, original)).content
    write_checkpoint(tmp_path / "ours.pt", first)
    assert export_file(tmp_path / "ours.pt", tmp_path / "theirs.pt") == ()
    theirs = torch.load(tmp_path / "theirs.pt", weights_only=True)
    for key in ("model_state", "d_img_state", "d_obj_state"):
        same(dict(sorted(original[key].items())), dict(sorted(theirs[key].items())))
    for key, value in original["model_kwargs"].items():
        assert theirs["model_kwargs"][key] == value, key
    for key in ("d_img_kwargs", "d_obj_kwargs"):
        assert theirs[key] == original[key]
    again = import_sg2im(tmp_path / "theirs.pt").content
    same(dict(first.model), dict(again.model))
    same(dict(first.training), dict(again.training))
    assert (again.vocabulary, again.config) == (first.vocabulary, first.config)


def test_our_own_generator_is_exported_with_all_that_sg2im_loads(tmp_path: Path) -> None:
    config = GeneratorConfig(
        image_size=32,
        embedding_dim=6,
        gconv_dim=8,
        gconv_hidden_dim=10,
        gconv_layers=3,
        mask_size=4,
        layout_noise_dim=3,
        refinement_dims=(12, 8),
        activation="relu",
    )
    vocabulary = Vocabulary.from_names(["cat", "dog", "sky", "tree"], ["near", "above"])
    generator = Generator(config, 5, 3)
    weights = {f"generator.{n}": v for n, v in generator.state_dict().items()}
    converted = export_sg2im(Checkpoint(RunConfig(generator=config), vocabulary, weights))
    state = converted.content["model_state"]
    assert {n: v.shape for n, v in state.items()} == {n: v.shape for n, v in model_state().items()}
    assert converted.content["model_kwargs"]["activation"] == "leakyrelu-0.0"  # its true ReLU
    assert any("noise" in note for note in converted.notes)
    back = import_sg2im(saved(tmp_path, converted.content)).content
    same(weights, dict(back.model))


def test_unused_coco_ids_get_names_of_their_own(tmp_path: Path) -> None:
    names = ["__image__", "person", "NONE", "car", "NONE", "person"]
    kwargs = {**SIZES, "vocab": vocab(names)}
    file = saved(
        tmp_path,
        {"model_kwargs": kwargs, "model_state": model_state(objects=6)},
    )
    found = import_sg2im(file).content
    unused = ("__unused_2__", "car", "__unused_4__", "__unused_5__")
    assert found.vocabulary.objects == ("__background__", "person", *unused)
    written = export_sg2im(found).content["model_kwargs"]["vocab"]["object_idx_to_name"]
    assert written == ["__image__", "person", "NONE", "car", "NONE", "NONE"]


def test_relations_in_the_layout_are_refused_both_ways(tmp_path: Path) -> None:
    imported = import_sg2im(saved(tmp_path, stripped())).content
    drawing = replace(imported.config.generator, relation_layout=True)
    config = replace(imported.config, generator=drawing)
    dataset: Any = SimpleNamespace(vocabulary=imported.vocabulary)
    expected = r"generator\.relation_layout: expected false, as the generator whose weights"
    with pytest.raises(InputError, match=expected):
        build_model(config, dataset, Start(imported))
    expected = r"ours: generator\.relation_layout: expected false \(sg2im draws objects alone\)"
    with pytest.raises(InputError, match=expected):
        export_sg2im(replace(imported, config=config), "ours")


def test_relu_is_sg2im_s_leaky_one(tmp_path: Path) -> None:
    for name, ours in (("relu", "leakyrelu-0.01"), ("leakyrelu", "leakyrelu-0.01")):
        data = stripped(model_kwargs={**SIZES, "vocab": vocab(), "activation": name})
        converted = import_sg2im(saved(tmp_path, data))
        assert converted.content.config.generator.activation == ours
        assert len(converted.notes) == 2  # discriminators of another activation are named


def test_mlp_normalization(tmp_path: Path) -> None:
    config = GeneratorConfig(
        image_size=32, gconv_layers=2, mlp_normalization="batch", refinement_dims=(8,), mask_size=0
    )
    names = Generator(config, 5, 3).state_dict()
    assert {"gconv.net1.1.running_mean", "gconv.net1.3.weight", "box_net.3.bias"} <= set(names)
    vocabulary = Vocabulary.from_names(["a", "b", "c", "d"], ["x", "y"])
    weights = {f"generator.{n}": v for n, v in names.items()}
    data = export_sg2im(Checkpoint(RunConfig(generator=config), vocabulary, weights)).content
    assert data["model_state"]["rel_aux_net.4.running_var"].shape == (3,)
    back = import_sg2im(saved(tmp_path, data)).content
    same(weights, dict(back.model))


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


def test_nothing_in_the_file_is_run(tmp_path: Path) -> None:
    file = saved(tmp_path, stripped(args=Evil(tmp_path / "made")))
    with pytest.raises(InputError, match="would run"):
        import_sg2im(file)
    assert not (tmp_path / "made").exists()


def test_bad_files_are_one_line(tmp_path: Path) -> None:
    state = model_state()
    wrong = {**state, "box_net.2.weight": torch.zeros(5, 10)}
    kwargs = stripped()["model_kwargs"]
    cases: list[tuple[Any, str]] = [
        ({"a": 1}, "expected a checkpoint of sg2im, got a file of another kind"),
        (torch.zeros(2), "expected a checkpoint of sg2im"),
        (stripped(model_state=None), r"with weights, got one without"),
        (stripped(model_state=wrong), r"box_net.2.weight: expected shape \[4, 10\], got \[5, 10\]"),
        (stripped(model_state=without(state, "box_net.2.bias")), "1 missing"),
        (stripped(model_state={"a": 3}), "expected tensors alone"),
        (stripped(model_kwargs=SIZES), "object_idx_to_name: expected a list"),
        (stripped(model_kwargs={**kwargs, "image_size": (64, 32)}), "of a square, got"),
        (stripped(model_kwargs={**kwargs, "image_size": (48, 48)}), "generator.image_size"),
        (stripped(model_kwargs={**kwargs, "gconv_dim": "x"}), "gconv_dim: expected a whole"),
        (stripped(model_kwargs={**kwargs, "gconv_num_layers": 4}), "missing"),
        (stripped(d_obj_state={"a": torch.zeros(1)}), "d_obj_state: expected weights"),
        (stripped(d_img_state=5), "vg.pt: d_img_state: expected tensors alone"),
        (stripped(d_img_kwargs=5), "vg.pt: d_img_kwargs: expected the arguments"),
    ]
    for content, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            import_sg2im(saved(tmp_path, content))
        assert "\n" not in str(caught.value)
    (tmp_path / "text.pt").write_text("no")
    for name in ("text.pt", "none.pt"):
        with pytest.raises(InputError, match="expected a checkpoint"):
            import_sg2im(tmp_path / name)
    config = RunConfig(generator=GeneratorConfig(activation="gelu"))
    with pytest.raises(InputError, match="activation: expected relu or leakyrelu, got gelu"):
        export_sg2im(Checkpoint(config, Vocabulary.from_names(["a"], ["b"]), {}))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("image_size", (64.5, 64.5), "image_size: expected a whole number, got 64.5"),
        ("image_size", 64, "image_size: expected .height, width. of a square, got 64"),
        ("gconv_num_layers", 99, "gconv_num_layers: expected as many as have weights"),
        ("gconv_num_layers", 10**7, "generator.gconv_layers: expected <= 100"),
        ("gconv_num_layers", None, "gconv_num_layers: expected a whole number, got None"),
        ("gconv_pooling", "max", "gconv_pooling: expected avg or sum, got 'max'"),
        ("mlp_normalization", "layer", "mlp_normalization: expected batch or none, got 'layer'"),
        ("normalization", None, "normalization: expected batch or instance or none, got None"),
        ("activation", "leakyrelu-", "activation: expected a name such as leakyrelu-0.2"),
        ("activation", 5, "activation: expected a name such as leakyrelu-0.2, got 5"),
        ("refinement_dims", "12,8", "refinement_dims: expected a list of widths, got 12,8"),
        ("refinement_dims", (10**12, 8), "refinement_dims: expected <= 16384"),
        ("vocab", vocab(["__image__", "cat", "", "sky", "tree"]), "expected names, got ''"),
    ],
)
def test_arguments_that_sg2im_could_not_have(
    name: str, value: Any, message: str, tmp_path: Path
) -> None:
    kwargs = {**stripped()["model_kwargs"], name: value}
    with pytest.raises(InputError, match="vg.pt: .*" + message) as caught:
        import_sg2im(saved(tmp_path, stripped(model_kwargs=kwargs)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("box_net.2.bias", torch.tensor([0.0, 1, float("nan"), 2]), "finite numbers"),
        ("box_net.2.bias", torch.zeros(4, dtype=torch.int64), "floating-point numbers, got"),
        ("box_net.2.bias", torch.zeros(4, dtype=torch.complex64), "floating-point numbers"),
        ("box_net.2.bias", torch.zeros(4).to_sparse(), "dense tensors whose numbers are all"),
        ("box_net.2.bias", torch.zeros(4, device="meta"), "dense tensors whose numbers are all"),
        ("mask_net.1.running_var", torch.full((8,), -1.0), "variances >= 0, got -1"),
        ("module.box_net.2.bias", torch.zeros(4), "each name once"),
    ],
)
def test_weights_that_would_draw_nothing_sane(
    name: str, value: torch.Tensor, message: str, tmp_path: Path
) -> None:
    state = {**model_state(), name: value}
    with pytest.raises(InputError, match=f"vg.pt.*: expected {message}"):
        import_sg2im(saved(tmp_path, stripped(model_state=state)))


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    state = {n: v.half() if v.is_floating_point() else v for n, v in model_state().items()}
    model = import_sg2im(saved(tmp_path, stripped(model_state=state))).content.model
    assert model["generator.box_net.2.bias"].dtype == torch.float32
    assert torch.equal(model["generator.box_net.2.bias"], state["box_net.2.bias"].float())


def test_a_discriminator_without_its_arguments_is_named(tmp_path: Path) -> None:
    converted = import_sg2im(saved(tmp_path, stripped(d_img_kwargs=None)))
    assert converted.notes == ("d_img left out: an architecture that is not ours",)
    assert "discriminator" not in converted.content.training


def test_a_missing_file_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        export_file(tmp_path / "none.pt", tmp_path / "out.pt")
    assert list(tmp_path.iterdir()) == []
    read = saved(tmp_path, stripped())
    with pytest.raises(InputError, match="a checkpoint of autoenc-sg"):
        read_checkpoint(read)


def test_places_to_write_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = tmp_path / "ours.pt"
    write_checkpoint(ours, import_sg2im(saved(tmp_path, stripped())).content)
    export_file(ours, tmp_path / "no-suffix")
    assert import_sg2im(tmp_path / "no-suffix").notes == ()
    (tmp_path / "file").write_text("x")
    for out, expected in (
        (tmp_path, "expected a file to write, got a folder"),
        (tmp_path / "file" / "x.pt", "expected a path that can be written"),
        (Path("/proc/none/x.pt"), "expected a path that can be written"),
    ):
        assert main(["export", "sg2im", str(ours), "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert expected in error
        assert len(error.splitlines()) == 1
    names = {"file", "no-suffix", "ours.pt", "training-none-0.safetensors", "vg.pt"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = saved(tmp_path, stripped())
    ours, theirs = tmp_path / "ours", tmp_path / "theirs.pt"
    assert main(["import", "sg2im", str(file), "--out", str(ours)]) == 0
    assert main(["export", "sg2im", str(ours / CHECKPOINT), "--out", str(theirs)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(ours / CHECKPOINT),
        str(theirs),
    ]
    graph = tmp_path / "graph.json"
    graph.write_text('{"objects": ["cat", "sky"], "relationships": [[1, "above", 0]]}')
    drawn = [
        "generate",
        str(ours / CHECKPOINT),
        str(graph),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(drawn) == 0
    assert (tmp_path / "out" / "graph.png").is_file()
    assert main(["import", "sg2im", str(graph), "--out", str(tmp_path / "no")]) == 2
    before = (ours / CHECKPOINT).read_bytes()
    (ours / "history.jsonl").touch()  # a run of ours has gone on here
    assert main(["import", "sg2im", str(file), "--out", str(ours)]) == 2
    assert "expected a folder without a run, got one with history.jsonl" in capsys.readouterr().err
    assert (ours / CHECKPOINT).read_bytes() == before
    assert not (tmp_path / "no").exists()


def test_an_imported_decoder_samples_the_data_it_is_given(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, ours = tmp_path / "theirs.pt", tmp_path / "ours"
    export_file(tiny_run / "run" / CHECKPOINT, theirs)
    assert main(["import", "sg2im", str(theirs), "--out", str(ours)]) == 0
    call = [
        "sample",
        str(ours / CHECKPOINT),
        "--limit",
        "2",
        "--out",
        str(tmp_path / "s"),
    ]
    assert main([*call, "--data", str(tiny_run / "scenes")]) == 0  # files of VG150
    assert len((tmp_path / "s" / "index.jsonl").read_text().splitlines()) == 2
    capsys.readouterr()
    assert main(call) == 2  # nothing is drawn in place of data that is not there
    assert "vocab.json: expected a JSON file, got no such file" in capsys.readouterr().err
    assert main(["evaluate", str(ours / CHECKPOINT)]) == 2
    expected = "checkpoint.safetensors: expected a model with an encoder, got a decoder alone"
    assert expected in capsys.readouterr().err


def test_data_of_an_imported_checkpoint(tmp_path: Path) -> None:
    assert import_sg2im(saved(tmp_path, stripped())).content.config.data.format == "sg2im_vg"
    predicates = ["__in_image__", *GEOMETRIC_PREDICATES]
    names = {"pred_idx_to_name": predicates}
    state = model_state()
    state["pred_embeddings.weight"] = torch.zeros(7, 6)
    kwargs = {**stripped()["model_kwargs"], "vocab": {**vocab(), **names}}
    file = saved(tmp_path, {"model_kwargs": kwargs, "model_state": state})
    assert import_sg2im(file).content.config.data.format == "coco_stuff"
