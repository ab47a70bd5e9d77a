"""Names of object and predicate ids.

Index 0 is reserved in both lists and never a user's class: object 0 is the background in the
detector and the ``__image__`` node in the generator, predicate 0 is "no relation" in the predictor
and ``__in_image__`` in the generator. So VG150 has 151 object and 51 predicate entries and its
labels are 1-based, as on disk.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoenc_sg.core.errors import InputError, bad_input

BACKGROUND = "__background__"


@dataclass(frozen=True)
class Vocabulary:
    """Object and predicate names by id; entry 0 of both is the reserved ``__background__``."""

    objects: tuple[str, ...]
    predicates: tuple[str, ...]

    def __post_init__(self) -> None:
        for kind in ("objects", "predicates"):
            object.__setattr__(self, kind, _names(kind, getattr(self, kind)))
        for kind, names in (("objects", self.objects), ("predicates", self.predicates)):
            if not names or names[0] != BACKGROUND:
                raise bad_input(f"vocabulary {kind}", f"{BACKGROUND!r} first", repr(names[:1]))
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise bad_input(f"vocabulary {kind}", "each name once", f"{repeated} repeated")

    @classmethod
    def from_names(cls, objects: Iterable[str], predicates: Iterable[str]) -> Vocabulary:
        """Build from names without the reserved 0; ids start at 1 in the order given."""
        names = [_names(kind, n) for kind, n in (("objects", objects), ("predicates", predicates))]
        return cls((BACKGROUND, *names[0]), (BACKGROUND, *names[1]))

    @classmethod
    def from_vg_dicts(cls, dicts: Mapping[str, Any]) -> Vocabulary:
        """Read ``VG-SGG-dicts.json``: 1-based ids in ``label_to_idx`` and ``predicate_to_idx``."""
        return cls(_ordered(dicts, "label_to_idx"), _ordered(dicts, "predicate_to_idx"))

    def to_dict(self) -> dict[str, list[str]]:
        """Plain lists, for checkpoints and JSON."""
        return {"objects": list(self.objects), "predicates": list(self.predicates)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Iterable[str]]) -> Vocabulary:
        """The inverse of `to_dict`.

        Raises:
            InputError: one of the two lists is missing, or is not of names.
        """
        if not isinstance(data, Mapping):
            raise bad_input("vocabulary", "a mapping of two lists of names", type(data).__name__)
        for kind in ("objects", "predicates"):
            names = data.get(kind)
            if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
                raise bad_input(f"vocabulary {kind}", "a list of names", type(names).__name__)
        return cls(tuple(data["objects"]), tuple(data["predicates"]))

    @property
    def num_objects(self) -> int:
        """C: object classes with the reserved 0."""
        return len(self.objects)

    @property
    def num_predicates(self) -> int:
        """P: predicates with the reserved 0."""
        return len(self.predicates)

    def object_id(self, name: str) -> int:
        """The id (>= 1) of an object name.

        Raises:
            InputError: the name is unknown; the message lists the nearest known names.
        """
        return _lookup("object", name, self.objects)

    def predicate_id(self, name: str) -> int:
        """The id (>= 1) of a predicate name; raises as `object_id`."""
        return _lookup("predicate", name, self.predicates)


def _names(kind: str, names: object) -> tuple[str, ...]:
    """A user's list of names."""
    items = None if isinstance(names, str) or not isinstance(names, Iterable) else tuple(names)
    if items is None or not all(isinstance(name, str) for name in items):
        raise bad_input(f"vocabulary {kind}", "a list of names", repr(names)[:60])
    return items


def _ordered(dicts: Mapping[str, Any], key: str) -> tuple[str, ...]:
    if not isinstance(dicts.get(key), Mapping):
        raise bad_input(
            "VG dicts", f"a mapping {key!r} of name to id", type(dicts.get(key)).__name__
        )
    try:
        ids = [(int(index), str(name)) for name, index in dicts[key].items() if int(index) != 0]
    except (TypeError, ValueError, OverflowError) as error:
        raise bad_input(f"VG dicts {key!r}", "whole numbers as ids", error) from error
    by_id = dict(ids)
    if sorted(index for index, _ in ids) != list(range(1, len(ids) + 1)):
        expected = f"ids 1..{len(ids)}, each once"
        raise bad_input(f"VG dicts {key!r}", expected, sorted(index for index, _ in ids)[:5])
    return (BACKGROUND, *(by_id[i] for i in range(1, len(by_id) + 1)))


def _lookup(kind: str, name: str, names: tuple[str, ...]) -> int:
    user_names = names[1:]
    if name in user_names:
        return 1 + user_names.index(name)
    near = nearest(name, names)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise InputError(
        f"{kind} {name!r}: expected one of {len(user_names)} known names, got an unknown one{hint}"
    )


def nearest(name: str, names: Sequence[str]) -> list[str]:
    """Up to three of `names`, without the reserved first, that are most similar to `name`.

    One name if none is similar; case is ignored.
    """
    lower, by_lower_case = str(name).strip().lower(), {other.lower(): other for other in names[1:]}
    matches = difflib.get_close_matches(lower, by_lower_case, n=3, cutoff=0.5)
    matches = matches or difflib.get_close_matches(lower, by_lower_case, n=1, cutoff=0.0)
    return [by_lower_case[other] for other in matches]
