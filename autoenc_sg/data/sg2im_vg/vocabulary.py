"""sg2im's vocabularies: those in its checkpoints, and `vocab.json` beside its Visual Genome files.

`object_idx_to_name` begins with `__image__` and `pred_idx_to_name` with `__in_image__`, where ours
have the reserved `__background__`. COCO's gaps between category ids, all called `NONE` there, are
called `__unused_<id>__` here, since names are unique.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from autoenc_sg.core.errors import bad_input
from autoenc_sg.core.vocabulary import BACKGROUND, Vocabulary

IMAGE, IN_IMAGE, UNUSED = "__image__", "__in_image__", "NONE"


def from_sg2im_vocab(vocab: Any, where: object) -> Vocabulary:
    """Ours, with the same ids.

    Args:
        vocab: the decoded dictionary.
        where: what messages call it.

    Raises:
        InputError: a list of names is missing or does not begin with the reserved name.
    """
    names = []
    for kind, first in (("object", IMAGE), ("pred", IN_IMAGE)):
        entries = vocab.get(f"{kind}_idx_to_name") if isinstance(vocab, dict) else None
        if not isinstance(entries, (list, tuple)) or not entries or entries[0] != first:
            what = f"{where}, {kind}_idx_to_name"
            raise bad_input(what, f"a list that begins with {first}", repr(entries)[:40])
        wrong = [entry for entry in entries if not isinstance(entry, str) or not entry]
        if wrong:
            raise bad_input(f"{where}, {kind}_idx_to_name", "names", repr(wrong[0])[:40])
        names.append((BACKGROUND, *_unique(entries)[1:]))
    return Vocabulary(*names)


def to_sg2im_vocab(vocabulary: Vocabulary) -> dict[str, Any]:
    """The inverse of `from_sg2im_vocab`."""
    unused = re.compile(r"__unused_\d+__")
    objects = [IMAGE, *(UNUSED if unused.fullmatch(n) else n for n in vocabulary.objects[1:])]
    predicates = [IN_IMAGE, *vocabulary.predicates[1:]]
    return {
        "object_name_to_idx": {n: i for i, n in enumerate(objects) if n != UNUSED},
        "object_idx_to_name": objects,
        "pred_name_to_idx": {n: i for i, n in enumerate(predicates)},
        "pred_idx_to_name": predicates,
    }


def _unique(names: Sequence[str]) -> list[str]:
    """Unique names: repeated ones after the first, and `NONE`, become `__unused_<id>__`."""
    return [
        f"__unused_{i}__" if name == UNUSED or name in names[:i] else name
        for i, name in enumerate(names)
    ]
