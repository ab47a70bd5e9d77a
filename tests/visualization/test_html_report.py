from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from autoenc_sg.core.errors import InputError
from autoenc_sg.visualization.html_report import Figure, Report, report_html, write_report
from autoenc_sg.visualization.tables import Table, format_column

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Collects texts and attributes by tag; every tag that is opened must be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.stack[-1], data))

    def all_texts(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def table() -> Table:
    rows = [["model <a>", 12.345, 300, None], ["prior & co", 8.1, 1200, 0.5]]
    return Table("Recall", ["name", "R@20", "images", "L1"], rows, "in percent")


def picture(side: int = 6) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def report() -> Report:
    figures = [Figure('Figure "2"', picture(), "photo > graph"), Figure("Wide", picture(1300), "")]
    return Report("Demo & co", ["First <b>.", "Second."], [table()], figures)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([12.345, 8.1, None], ["12.35", "8.10", "–"]),
        ([0.08123, 0.5], ["0.0812", "0.5000"]),
        ([9.87654, -1.0], ["9.877", "-1.000"]),
        ([12345.678, 3.0], ["12,346", "3"]),
        ([0.25, 3e-6, 0.0], ["0.2500", "3.0e-06", "0.0000"]),
        ([1200, 7], ["1,200", "7"]),
        ([2e12, 1.5], ["2.0e+12", "1.500"]),
        (["text", 1, 2.5, True], ["text", "1", "2.500", "True"]),
        ([float("nan"), float("inf"), 1.0], ["–", "inf", "1.000"]),
        ([], []),
    ],
)
def test_numbers_are_written_sensibly(cells: list[str | float | None], expected: list[str]) -> None:
    assert format_column(cells) == expected


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_a_number_is_not_shown_as_another(values: list[float]) -> None:
    for value, text in zip(values, format_column(values)):
        shown = float(text.replace(",", ""))
        if "e" in text:
            assert shown == pytest.approx(value, rel=0.051, abs=1e-320)
        else:
            unit = 10.0 ** -len(text.partition(".")[2])
            assert abs(shown - value) <= 0.501 * unit
        assert (shown == 0) == (value == 0)


def test_rows_have_a_cell_for_each_column() -> None:
    with pytest.raises(InputError, match="T, row 1: expected 2 cells, got 1"):
        Table("T", ["a", "b"], [[1, 2], [3]])


def test_the_terminal_shows_the_same_cells() -> None:
    stream = io.StringIO()
    rows = [["[red]bold[/red]", 1.5]]  # no markup is read in names
    Console(file=stream, width=100).print(table().to_rich())
    Console(file=stream, width=100).print(Table("[t]", ["[a]", "b"], rows).to_rich())
    text = stream.getvalue()
    for part in ("Recall", "R@20", "12.35", "8.10", "1,200", "0.5000", "–", "in percent"):
        assert part in text
    for part in ("[red]bold[/red]", "[t]", "[a]"):
        assert part in text


def test_html_holds_every_text_escaped() -> None:
    page = Page(report_html(report()))
    assert page.stack == []
    assert page.all_texts("title") == page.all_texts("h1") == ["Demo & co"]
    assert page.all_texts("p") == ["First <b>.", "Second.", "in percent"]
    assert page.all_texts("caption") == ["Recall"]
    assert page.all_texts("th") == ["name", "R@20", "images", "L1"]
    cells = ["model <a>", "12.35", "300", "–", "prior & co", "8.10", "1,200", "0.5000"]
    assert page.all_texts("td") == cells
    assert [attrs.get("class") for attrs in page.attributes("td")][:4] == [None, *["number"] * 3]
    assert page.all_texts("h2") == ['Figure "2"', "Wide"]
    assert page.all_texts("figcaption") == ["photo > graph"]


def test_no_text_of_a_report_becomes_markup() -> None:
    text = '<script>alert(1)</script>" onload="x'
    figure = Figure(text, picture(), text)
    page_text = report_html(Report(text, [text], [Table(text, [text], [[text]], text)], [figure]))
    page = Page(page_text)
    assert "<script" not in page_text
    for tag in ("title", "h1", "p", "caption", "th", "td", "h2", "figcaption"):
        assert page.all_texts(tag)[0] == text, tag
    assert [attrs["aria-label"] for attrs in page.attributes("div")] == [text, text]
    assert page.attributes("img")[0]["alt"] == f"{text}. {text}"
    assert not any("onload" in attrs for _, attrs in page.tags)


def test_html_needs_nothing_else() -> None:
    page = Page(report_html(report()))
    assert not page.attributes("script")
    assert not page.attributes("link")
    for _, attrs in page.tags:
        assert not attrs.get("href")
        assert (attrs.get("src") or "data:image/png").startswith("data:image/png")
    assert "url(" not in page.all_texts("style")[0]
    names = {attrs.get("name") for attrs in page.attributes("meta")}
    assert "viewport" in names


def test_pictures_are_whole_and_described() -> None:
    small, wide = Page(report_html(report())).attributes("img")
    assert small["alt"] == 'Figure "2". photo > graph'
    assert (small["width"], small["height"]) == ("6", "6")
    assert "class" not in small
    assert wide["class"] == "wide"
    data = base64.b64decode((small["src"] or "").split(",", 1)[1])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(picture()))


def test_an_empty_report_is_a_page() -> None:
    page = Page(report_html(Report("Nothing", tables=[Table("Empty", ["a"], [])])))
    assert page.all_texts("h1") == ["Nothing"]
    assert page.all_texts("th") == ["a"]


def test_write_report_is_utf8_and_whole(tmp_path: Path) -> None:
    write_report(tmp_path / "new" / "report.html", report())
    text = (tmp_path / "new" / "report.html").read_text(encoding="utf-8")
    assert text == report_html(report())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]
    with pytest.raises(InputError, match="expected a path that can be written"):
        write_report(tmp_path / "new" / "report.html" / "x.html", report())
