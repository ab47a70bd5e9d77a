"""Reports as a single HTML file, for small and large screens; the pages are jinja2 templates."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.visualization.tables import Table

_WIDE = 1200  # pixels; on a narrow screen a wider image is scrolled, not shrunk


@dataclass(frozen=True, eq=False)
class Figure:
    """An image with a title and a caption; both are its alternative text."""

    title: str
    image: Image.Image
    caption: str

    @property
    def wide(self) -> bool:
        """Whether a narrow screen scrolls the image sideways instead of shrinking it."""
        return self.image.width > _WIDE

    def alternative_text(self) -> str:
        """The `alt` text of the image."""
        return f"{self.title}. {self.caption}".strip()

    def data_uri(self) -> str:
        """The image as a PNG data URI."""
        stream = io.BytesIO()
        self.image.save(stream, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


@dataclass(frozen=True, eq=False)
class Report:
    """The content of a report, in this order.

    Attributes:
        title: its heading.
        summary: paragraphs.
        tables: tables of results.
        figures: images.
    """

    title: str
    summary: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()


def write_report(path: Path | str, report: Report) -> None:
    """Write the report as one self-contained HTML file, atomically.

    Images are PNG data URIs and the style is inline: no scripts, and nothing is loaded.

    Raises:
        InputError: the path cannot be written.
    """
    text = report_html(report)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def report_html(report: Report) -> str:
    """The report as an HTML page, from `templates/report.html.jinja`; every text is escaped."""
    return _environment().get_template("report.html.jinja").render(report=report)


@cache
def _environment() -> Environment:
    loader = PackageLoader("autoenc_sg.visualization")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
