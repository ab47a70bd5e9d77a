from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from autoenc_sg.pipelines.output_names import output_names

names = st.text(st.sampled_from("aA.-2 "), min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..")
)


def test_by_hand() -> None:
    files = ["a/cat.jpg", "b/cat.jpg", "cat-2.jpg", "Cat.png", "x/...jpg", "dog", ".hidden.jpg"]
    assert output_names([Path(file) for file in files]) == [
        "cat",
        "cat-3",
        "cat-2",
        "Cat-4",
        "file",
        "dog",
        ".hidden",
    ]


@given(st.lists(names, max_size=12))
def test_unique_and_inside(files: list[str]) -> None:
    out = Path("/out")
    results = output_names([Path(file) for file in files])
    assert len({name.lower() for name in results}) == len(files)
    for name in results:
        assert (out / name).resolve().parent == out
