"""Names of one vocabulary in another: by the user's file, equality, aliases, or word vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autoenc_sg.core.errors import InputError, bad_input, is_fraction
from autoenc_sg.core.vocabulary import nearest
from autoenc_sg.data.base.json_files import read_json
from autoenc_sg.data.vg150.from_raw.names import read_aliases
from autoenc_sg.visualization.tables import Cell, Table

Way = Literal["file", "exact", "alias", "word vectors", "none"]

# COCO's names as Visual Genome's annotators say them, the first that the other vocabulary has.
BUILT_IN: dict[str, tuple[str, ...]] = {
    "person": ("man", "people"),
    "bicycle": ("bike",),
    "motorcycle": ("motorbike", "bike"),
    "airplane": ("plane",),
    "traffic light": ("light",),
    "fire hydrant": ("hydrant",),
    "stop sign": ("sign",),
    "parking meter": ("meter",),
    "backpack": ("bag",),
    "handbag": ("purse", "bag"),
    "tie": ("necktie",),
    "suitcase": ("luggage", "bag"),
    "skis": ("ski",),
    "sports ball": ("ball",),
    "baseball bat": ("bat",),
    "baseball glove": ("glove",),
    "tennis racket": ("racket", "racquet"),
    "wine glass": ("glass",),
    "cup": ("mug", "glass"),
    "sandwich": ("food",),
    "broccoli": ("vegetable", "food"),
    "carrot": ("vegetable", "food"),
    "hot dog": ("food",),
    "donut": ("food",),
    "cake": ("food",),
    "apple": ("fruit", "food"),
    "orange": ("fruit", "food"),
    "couch": ("sofa",),
    "potted plant": ("plant",),
    "dining table": ("table",),
    "tv": ("television", "screen", "monitor"),
    "cell phone": ("phone", "cellphone"),
    "refrigerator": ("fridge",),
    "teddy bear": ("bear", "toy"),
}
_VOWELS = frozenset("aeiouy")


@dataclass(frozen=True)
class NameFiles:
    """The user's files and the threshold of `map_names`.

    Attributes:
        mapping: JSON, an object of names: `{"sofa": "couch", "frisbee": null}`; null: to nothing.
        aliases: lines name,alias,alias,…; an alias is looked up by the name.
        word_vectors: .npz with `words [W]` and `vectors [W, D]`.
        least_similarity: cosine of two names' vectors that makes them one.
    """

    mapping: Path | None = None
    aliases: Path | None = None
    word_vectors: Path | None = None
    least_similarity: float = 0.75

    def __post_init__(self) -> None:
        if not is_fraction(self.least_similarity):
            raise bad_input("least similarity", "0..1", self.least_similarity)


@dataclass(frozen=True)
class MappedName:
    """A name, the name that it has in the other vocabulary or None, and how that was decided."""

    name: str
    target: str | None
    way: Way


@dataclass(frozen=True)
class NameMapping:
    """The names of a vocabulary in another one; the reserved first one is not among them."""

    names: tuple[MappedName, ...]

    @property
    def unmapped(self) -> tuple[str, ...]:
        """The names that map to nothing."""
        return tuple(entry.name for entry in self.names if entry.target is None)

    def ids(self, others: Sequence[str]) -> list[int]:
        """By id of the vocabulary, the id in `others`; 0 for what maps to nothing, and for 0."""
        return [0, *(others.index(n.target) if n.target is not None else 0 for n in self.names)]

    def table(self) -> Table:
        """What does not go without saying: the names that are not mapped by equality."""
        rows: list[list[Cell]] = [
            [entry.name, entry.target or "-", entry.way]
            for entry in self.names
            if entry.way != "exact"
        ]
        exact = sum(entry.way == "exact" for entry in self.names)
        return Table("Names", ["class", "in the prior", "by"], rows, f"{exact} others are equal")


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Unit vectors of words: `vectors [W, D]`, the row of a word by its name."""

    rows: Mapping[str, int]
    vectors: NDArray[np.float64]

    def of_name(self, name: str) -> NDArray[np.float64] | None:
        """The direction of the mean of the words' vectors: `[D]`; None if a word is not there."""
        rows = [self.rows.get(word) for word in _plain(name).split()]
        if not rows or None in rows:
            return None
        mean = self.vectors[[row for row in rows if row is not None]].mean(0)
        return _unit(mean)


@dataclass(frozen=True)
class _Ways:
    """What `map_names` reads from the files."""

    chosen: Mapping[str, str | None] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    vectors: WordVectors | None = None


def map_names(
    names: Sequence[str], others: Sequence[str], files: NameFiles = NameFiles()
) -> NameMapping:
    """The name of each class in another vocabulary.

    In this order: the user's mapping; equal but for case and blanks; the user's aliases, then
    `BUILT_IN`; the nearest by word vectors, if their cosine is at least `least_similarity`.

    Args:
        names: to map, without the reserved first one.
        others: of the other vocabulary, without the reserved first one.
        files: the user's files.

    Raises:
        InputError: a file cannot be read, the mapping has a name that is in neither vocabulary, or
            no name maps to anything.
    """
    ways = _Ways(
        _read_mapping(files.mapping, names, others) if files.mapping else {},
        read_aliases(files.aliases) if files.aliases else {},
        read_word_vectors(files.word_vectors) if files.word_vectors else None,
    )
    mapping = NameMapping(tuple(_map(name, others, ways, files.least_similarity) for name in names))
    if names and len(mapping.unmapped) == len(names):
        expected = f"names of the prior ({', '.join(others[:5])}, …), or a mapping file"
        raise bad_input("classes", expected, f"none that maps to one: {', '.join(names[:5])}")
    return mapping


def _map(name: str, others: Sequence[str], ways: _Ways, least: float) -> MappedName:
    if name in ways.chosen:
        return MappedName(name, ways.chosen[name], "file")
    by_plain_name = {_plain(other): other for other in reversed(others)}
    plain = _plain(name)
    if plain in by_plain_name:
        return MappedName(name, by_plain_name[plain], "exact")
    aliases = [*([ways.aliases[plain]] if plain in ways.aliases else []), *BUILT_IN.get(plain, ())]
    for alias in aliases:
        if _plain(alias) in by_plain_name:
            return MappedName(name, by_plain_name[_plain(alias)], "alias")
    near = None if ways.vectors is None else _nearest(name, others, ways.vectors, least)
    return MappedName(name, near, "none" if near is None else "word vectors")


def _nearest(name: str, others: Sequence[str], vectors: WordVectors, least: float) -> str | None:
    vector = vectors.of_name(name)
    if vector is None:
        return None
    candidates = [(other, vectors.of_name(other)) for other in others]
    similarities = [(float(vector @ v), other) for other, v in candidates if v is not None]
    similarity, other = max(similarities, key=lambda entry: entry[0], default=(-1.0, ""))
    return other if similarity >= least - 1e-9 else None


def _read_mapping(path: Path, names: Sequence[str], others: Sequence[str]) -> dict[str, str | None]:
    data = read_json(path)
    if not isinstance(data, dict):
        raise bad_input(path, 'an object of names {"sofa": "couch", …}', type(data).__name__)
    for name, target in data.items():
        for text, vocabulary, whose in ((name, names, "boxes"), (target, others, "prior")):
            if text is not None and text not in vocabulary:
                near = ", ".join(nearest(str(text), ["", *vocabulary]))
                expected = f"classes of the {whose} (nearest: {near})"
                raise bad_input(path, expected, repr(text))
    return data


def read_word_vectors(path: Path) -> WordVectors:
    """Word vectors of an .npz file with `words` and `vectors`.

    Raises:
        InputError: the file cannot be read or has another form.
    """
    expected = "an .npz file with 'words' [W] and 'vectors' [W, D]"
    try:
        with np.load(path, allow_pickle=False) as file:
            words, vectors = file["words"], np.asarray(file["vectors"], dtype=np.float64)
    except Exception as error:  # numpy and zipfile raise what they like
        raise bad_input(path, expected, getattr(error, "strerror", None) or error) from None
    if (
        words.ndim != 1
        or vectors.ndim != 2
        or len(words) != len(vectors)
        or words.dtype.kind != "U"
    ):
        got = f"words {words.dtype} {list(words.shape)}, vectors {list(vectors.shape)}"
        raise bad_input(path, expected, got)
    if not np.isfinite(vectors).all():
        raise bad_input(path, "finite vectors", "others")
    rows = {str(word): row for row, word in enumerate(words)}
    return WordVectors(rows, np.stack([_unit(v) for v in vectors]) if len(vectors) else vectors)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return scaled


def _plain(name: str) -> str:
    """Lower case, single blanks, underscores as blanks."""
    return " ".join(name.replace("_", " ").casefold().split())


def stem(predicate: str) -> str:
    """A predicate without its verbs' endings, so that `riding`, `ride` and `rides` are equal.

    Of each word: `ing` goes if a vowel is left before it, then one of two equal last consonants; a
    last `s` after three letters or more (not `ss`), and a last `e`.
    """
    return " ".join(_stem_word(word) for word in _plain(predicate).split())


def _stem_word(word: str) -> str:
    base = word.removesuffix("ing")
    if base != word and _VOWELS & set(base):
        if len(base) > 2 and base[-1] == base[-2] and base[-1] not in _VOWELS | set("ls"):
            base = base[:-1]
    else:
        base = word
        if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
            base = word[:-1]
    return base.removesuffix("e") if len(base) > 2 else base


def match_predicates(names: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    """The name in `others` of each predicate that has one: equal, else of an equal `stem`."""
    plain = {_plain(other): other for other in reversed(others)}
    stems = {stem(other): other for other in reversed(others)}
    pairs = ((name, plain.get(_plain(name)) or stems.get(stem(name))) for name in names)
    return {name: other for name, other in pairs if other is not None}


def check_predicates(wanted: Sequence[str], names: Sequence[str]) -> None:
    """Check that predicates to keep are known.

    Raises:
        InputError: one is not; the nearest names are listed.
    """
    for name in wanted:
        if name not in names:
            near = ", ".join(nearest(name, ["", *names]))
            raise InputError(f"--predicates: expected names of the prior, got {name!r} ({near})")
