"""Options of the joint phase's images without annotation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from autoenc_sg.core.errors import require, require_at_least


@dataclass(frozen=True)
class UnannotatedConfig:
    """Images without relations in the joint phase (`data.annotated_fraction`, `data.unannotated`).

    They have image losses and, if asked for, losses against a teacher: an exponential average of
    the relation head. Their objects are the detector's.

    Attributes:
        per_batch: of them in each batch, over all processes, beside the `joint.batch_size`
            annotated images, which are the same with any number; None: as many as these where
            there are some and anything is learnt from them, else 0.
        object_threshold: least score of a detection that is one of their objects; None:
            `decode.object_threshold`.
        pseudo_labels: `teacher`: the predicates of which the teacher is sure are targets, no
            relation among them; `none`.
        pseudo_threshold: how sure: least probability of such a predicate.
        pseudo_weight: of their cross entropy, times `joint.predicate_weight`.
        consistency_weight: of the divergence KL(teacher, head) between the distributions of
            predicates, a mean over all pairs; the head has dropout, the teacher has none. 0: not
            computed.
        teacher_decay: d of the average `a <- d a + (1 - d) w`, at most 1 - 1 / (steps done + 1),
            so that it forgets where the head started.
    """

    per_batch: int | None = None
    object_threshold: float | None = None
    pseudo_labels: Literal["none", "teacher"] = "none"
    pseudo_threshold: float = 0.9
    pseudo_weight: float = 1.0
    consistency_weight: float = 0.0
    teacher_decay: float = 0.999

    @property
    def has_teacher(self) -> bool:
        """Whether a loss needs the teacher."""
        return self.pseudo_labels == "teacher" or self.consistency_weight > 0

    def check(self, where: str) -> None:
        """Raise InputError if a value is out of range; `where` names the section."""
        require_at_least(0, self, where, "pseudo_weight", "consistency_weight")
        require((self.per_batch or 0) >= 0, f"{where}.per_batch", ">= 0", self.per_batch)
        for name in ("object_threshold", "pseudo_threshold"):
            value = getattr(self, name)
            require(0 <= (value or 0) <= 1, f"{where}.{name}", "0..1", value)
        decay = self.teacher_decay
        require(0 <= decay < 1, f"{where}.teacher_decay", "0 or more, below 1", decay)
