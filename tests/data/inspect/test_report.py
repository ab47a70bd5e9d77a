"""Statistics of data sets, counted by hand, and the page that shows them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from autoenc_sg.cli.main import main
from autoenc_sg.config.data import DataConfig
from autoenc_sg.core.errors import InputError
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.inspect.plots import long_tail, sizes
from autoenc_sg.data.inspect.report import write_data_report
from autoenc_sg.data.inspect.statistics import (
    SplitStatistics,
    class_table,
    count_split,
    overview,
    predicate_table,
    pseudo_tables,
    triple_table,
)
from autoenc_sg.data.open import open_dataset
from autoenc_sg.data.vg150.dataset import open_vg150
from autoenc_sg.data.vg150.writing import write_annotations
from tests.data.test_open import KINDS, config
from tests.data.vg150.test_dataset import ALONE, APART, FULL, NAMES, make


@pytest.fixture
def counted(tmp_path: Path) -> list[SplitStatistics]:
    """FULL has 3 objects and 4 relations, twice `on` and once `near` of one pair; APART 2 and 1."""
    make(tmp_path, [FULL, APART, FULL, ALONE], [0, 0, 2, 2])
    return [
        count_split(open_vg150(tmp_path, split, 0, False), split)  # type: ignore[arg-type]
        for split in ("train", "val", "test")
    ]


def test_counts_by_hand(counted: list[SplitStatistics]) -> None:
    train, val, test = counted
    assert train.images == 2
    assert train.objects.tolist() == [0, 5, 0]
    assert train.predicates.tolist() == [0, 2, 1, 2, 0]
    assert train.objects_per_image.tolist() == [3, 2]
    assert train.relations_per_image.tolist() == [4, 1]
    assert train.triples == Counter({(1, 1, 1): 2, (1, 2, 1): 1, (1, 3, 1): 2})
    assert train.repeated == 2
    assert val.images == 0
    assert val.objects.tolist() == [0, 0, 0]
    assert test.objects_per_image.tolist() == [3, 1]


def test_tables(counted: list[SplitStatistics]) -> None:
    rows = {str(row[0]): row[1:] for row in overview(counted).rows}
    assert rows["images"] == [2, 0, 2]
    assert rows["images without relations"] == [0, 0, 1]
    assert rows["objects an image"] == [2.5, None, 2.0]
    assert rows["relations that share a pair with another"] == [2, 0, 2]
    assert rows["predicates"] == [3, 0, 3]
    assert class_table(counted, NAMES).rows == [[1, "cat", 5, 0, 4, 100.0], [2, "mat", 0, 0, 0, 0]]
    names = [row[1] for row in predicate_table(counted, NAMES).rows]
    assert names == ["on", "left of", "near", "right of"]
    table = triple_table(counted, NAMES)
    assert table.rows[0] == ["cat", "on", "cat", 4, pytest.approx(400 / 9)]
    assert table.note == "of 3 different ones"


def test_figures_of_much_and_of_nothing(counted: list[SplitStatistics]) -> None:
    nothing = counted[1]
    for splits in (counted, [nothing]):
        for image in (long_tail(splits, NAMES), sizes(splits)):
            assert image.width > 800
            assert len(set(image.convert("L").tobytes())) > 10  # not blank
    wide = replace(nothing, objects_per_image=torch.arange(500), relations_per_image=torch.zeros(1))
    sizes([wide])


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_of_every_format(tmp_path: Path, kind: str) -> None:
    plain = config(tmp_path / "data", kind)
    report = write_data_report(plain, tmp_path / "out", samples=1)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "index.html", "long_tail.png", "statistics.json",
    ]  # fmt: skip
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("data:image/png") == 3
    assert "no photo" not in page
    numbers = json.loads((tmp_path / "out" / "statistics.json").read_text())
    train = open_dataset(plain, "train")
    assert numbers["train"]["images"] == len(train)
    assert sum(numbers["train"]["objects"].values()) == sum(
        len(train.annotated(i)) for i in range(len(train))
    )
    assert len(report.tables) == 4


def test_annotations_without_photos_and_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make(tmp_path / "data ü", [FULL, FULL, FULL], [0, 0, 2])
    (root / "VG_100K/102.jpg").write_text("no image")
    out = tmp_path / "out ü"
    assert main(["data", "stats", "--root", str(root), "--out", str(out), "--samples", "9"]) == 0
    assert "Commonest triples" in capsys.readouterr().out
    page = (out / "index.html").read_text()
    assert page.count("no photo (") == 2  # caption and alternative text
    assert page.count("data:image/png") == 5
    assert Image.open(out / "long_tail.png").format == "PNG"
    sizes_file = root / "image_data.json"
    stated = json.loads(sizes_file.read_text())
    stated[1] = {**stated[1], "width": stated[1]["height"] << 18}  # too wide for a blank sheet
    sizes_file.write_text(json.dumps(stated))
    turned = Image.open(root / "VG_100K/100.jpg").transpose(Image.Transpose.ROTATE_90)
    turned.save(root / "VG_100K/100.jpg")
    write_data_report(DataConfig("vg150", str(root)), out)
    page = (out / "index.html").read_text()
    assert page.count("no photo (") == 6  # boxes are not drawn where they are not
    assert "(is it turned?)" in page
    empty = DataConfig("vg150", str(make(tmp_path / "empty", [ALONE], [0])))
    with pytest.raises(InputError, match="expected a data set of one or more images, got none"):
        write_data_report(empty, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_class_name_is_text_in_the_page(tmp_path: Path) -> None:
    name = "<script>alert(1)</script>"
    root = make(tmp_path / "data", [FULL, FULL], [0, 2])
    renamed = Vocabulary.from_names([name, "mat"], NAMES.predicates[1:])
    write_annotations(root, [FULL, FULL], [100, 101], [0, 2], renamed)
    write_data_report(DataConfig("vg150", str(root)), tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<script" not in page
    assert "<td>&lt;script&gt;alert(1)&lt;/script&gt;</td>" in page


def test_pseudo_relations_have_a_table_of_their_own() -> None:
    scored = replace(FULL, triples=torch.tensor([[0, 1, 1], [0, 2, 2], [1, 2, 2], [2, 1, 0]]))
    scored = replace(scored, triple_scores=torch.tensor([float("nan"), 0.5, 1.0, 0.25]))
    (table,) = pseudo_tables([scored, FULL], NAMES)
    assert table.rows == [["near", 2, 0.75], ["on", 1, 0.25]]
    assert pseudo_tables([FULL], NAMES) == []
