"""Options of the image losses that are not sg2im's: of relations, and of a detector's features."""

from __future__ import annotations

from dataclasses import dataclass

from autoenc_sg.core.errors import require_at_least


@dataclass(frozen=True)
class ImageLossConfig:
    """Weights of image losses beside sg2im's; 0: the loss is not computed.

    In the joint phase they are multiplied by `joint.image_loss_weight`, as all image losses are.

    Attributes:
        relation_adversarial_weight: of the generator's GAN loss on union boxes of true relations;
            0: no relation discriminator.
        relation_auxiliary_weight: of the predicates that the relation discriminator finds in
            generated images (cross entropy), where there is one.
        feature_weight: of the distance between generated and true image in the maps of the
            detector's backbone.
        relation_feature_weight: of the same distance pooled over the relations' union boxes.
    """

    relation_adversarial_weight: float = 0.0
    relation_auxiliary_weight: float = 0.1
    feature_weight: float = 0.0
    relation_feature_weight: float = 0.0

    def check(self, where: str) -> None:
        """Raise InputError if a weight is negative or not finite; `where` names the section."""
        require_at_least(0, self, where, *vars(self))
