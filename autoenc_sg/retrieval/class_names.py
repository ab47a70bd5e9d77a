"""Which other class stands in for one without a patch: the nearest by name."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.relate.names import WordVectors


@dataclass(frozen=True, eq=False)
class NearestNames:
    """Classes ordered by how near their names are.

    By the cosine of their word vectors where both names have some; names without come after
    those, by the share of letters they have in common (`difflib`).

    Attributes:
        vocabulary: of the bank.
        vectors: of words; None: letters alone.
    """

    vocabulary: Vocabulary
    vectors: WordVectors | None = None

    def order(self, label: int) -> list[int]:
        """The other classes, nearest first, ties by id; without the reserved 0."""
        others = [i for i in range(1, self.vocabulary.num_objects) if i != label]
        return sorted(others, key=lambda other: self._distance(label, other))

    def _distance(self, label: int, other: int) -> tuple[int, float]:
        first, second = (self.vocabulary.objects[i] for i in (label, other))
        if self.vectors is not None:
            one, two = self.vectors.of_name(first), self.vectors.of_name(second)
            if one is not None and two is not None:
                return 0, -float(one @ two)
        return 1, -difflib.SequenceMatcher(None, first.lower(), second.lower()).ratio()
