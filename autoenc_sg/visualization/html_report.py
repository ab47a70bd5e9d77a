"""A report of a run: one HTML file with everything in it, for a phone as well as a desktop."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from autoenc_sg.core.atomic_files import replacing
from autoenc_sg.core.tables import Table

_CSS = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem;
  background: #fff; color: #1c1c1c;
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { margin: 0.5rem 0 1rem; font-size: 1.9rem; line-height: 1.2; }
h2 { margin: 2.5rem 0 0.75rem; font-size: 1.25rem; }
p { max-width: 46rem; margin: 0.6rem 0; }
.note, figcaption { max-width: 46rem; font-size: 0.9rem; color: #555; }
.scroll { overflow-x: auto; margin-top: 2rem; }
.picture { margin-top: 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-size: 1.25rem; font-weight: 600; padding-bottom: 0.5rem; }
th, td { padding: 0.4rem 0.9rem; text-align: left; border-bottom: 1px solid #e2e2e2; }
th { border-bottom: 2px solid #888; white-space: nowrap; }
tbody tr:hover { background: #f5f7fa; }
.number { text-align: right; white-space: nowrap; }
figure { margin: 0; }
img { display: block; max-width: 100%; height: auto; }
@media (max-width: 44rem) { img.wide { max-width: none; width: 62rem; } }
figcaption { margin-top: 0.5rem; }
@media print { body { max-width: none; } section, figure { break-inside: avoid; } }
"""
_WIDE = 1200  # pixels; on a phone a wider picture is scrolled sideways rather than shrunk


@dataclass(frozen=True, eq=False)
class Figure:
    """A picture with a title and a caption, which is also its alternative text."""

    title: str
    image: Image.Image
    caption: str


@dataclass(frozen=True, eq=False)
class Report:
    """What a report shows, in this order.

    Attributes:
        title: its heading.
        summary: paragraphs.
        tables: the numbers.
        figures: the pictures.
    """

    title: str
    summary: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()


def write_report(path: Path | str, report: Report) -> None:
    """Write the report as one self-contained HTML file; whole or not at all.

    Pictures are PNG data URIs and the style is inline: no scripts, and nothing is loaded.

    Raises:
        InputError: the path cannot be written.
    """
    text = report_html(report)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def report_html(report: Report) -> str:
    """The report as an HTML page; every text is escaped."""
    title = html.escape(report.title)
    parts = [
        f"<h1>{title}</h1>",
        *(f"<p>{html.escape(paragraph)}</p>" for paragraph in report.summary),
        *(_table(table) for table in report.tables),
        *(_figure(figure) for figure in report.figures),
    ]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n<main>\n{body}\n"
        "</main>\n</body>\n</html>\n"
    )


def _table(table: Table) -> str:
    note = f'<p class="note">{html.escape(table.note)}</p>\n' if table.note else ""
    label = html.escape(table.title)
    scroll = f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
    return f"<section>\n{scroll}\n{table.to_html()}\n</div>\n{note}</section>"


def _figure(figure: Figure) -> str:
    image, title = figure.image, html.escape(figure.title)
    alt = html.escape(f"{figure.title}. {figure.caption}".strip())
    wide = ' class="wide"' if image.width > _WIDE else ""
    size = f'width="{image.width}" height="{image.height}"'
    return (
        f'<section>\n<h2>{title}</h2>\n<figure>\n<div class="scroll picture" tabindex="0" '
        f'role="region" aria-label="{title}">\n'
        f'<img{wide} src="{_data_uri(image)}" {size} alt="{alt}">\n</div>\n'
        f"<figcaption>{html.escape(figure.caption)}</figcaption>\n</figure>\n</section>"
    )


def _data_uri(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
