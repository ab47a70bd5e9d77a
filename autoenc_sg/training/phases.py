"""The three phases: what each one trains, and its training step from a batch to named losses.

A step updates the model first and then the discriminators (paper, section 4).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from autoenc_sg.config.phases import DetectorPhase, JointPhase, PhaseName
from autoenc_sg.config.run import RunConfig
from autoenc_sg.data.base.samples import Batch
from autoenc_sg.model.autoencoder import AutoEncoder
from autoenc_sg.model.region_reader import RegionReader
from autoenc_sg.training.discriminators import (
    AdversarialLossWeights,
    load_moments,
    make_adversaries,
)
from autoenc_sg.training.ema import WeightAverage
from autoenc_sg.training.guards.step_checks import check_step, load_optimizer
from autoenc_sg.training.losses.teacher import Teacher
from autoenc_sg.training.objectives import (
    DetectorObjective,
    JointObjective,
    Outcome,
    ReconstructionObjective,
)
from autoenc_sg.training.parallel.fabric import OpaqueBatch, TakesOpaqueBatch
from autoenc_sg.training.parallel.precision import StepPrecision
from autoenc_sg.training.parallel.processes import Processes

logger = logging.getLogger(__name__)


def decayed(lr: float, step: int, steps: int, warmup: int, decay_at: Sequence[float]) -> float:
    """The learning rate of a step: linear warm-up, and times 0.1 after each of `decay_at`.

    `decay_at` are fractions of `steps`; steps count from 0.
    """
    ramp = min(1.0, (step + 1) / max(warmup, 1))
    num_decays = sum(step >= fraction * steps for fraction in decay_at)
    return lr * ramp * math.pow(0.1, num_decays)


class Phase:
    """Objective, optimizers, discriminators and weight average of one phase, and its step.

    Args:
        name: `detector`, `reconstruction` or `joint`.
        fabric: wraps objective, optimizers and discriminators.
        model: the autoencoder; the phase decides which of its parameters are trained.
        config: of the whole run.
        regions: where the joint phase's regions come from; None: the detector runs.

    Attributes:
        teacher: of the joint phase's relation head, or None.
        best: the lowest validation value so far, inf before the first (see `validation`).
        precision: Fabric's mixed precision; None in float32.
    """

    def __init__(
        self,
        name: PhaseName,
        fabric: Fabric,
        model: AutoEncoder,
        config: RunConfig,
        regions: RegionReader | None = None,
    ) -> None:
        self.name = name
        self.regions = regions
        self.fabric = fabric
        self.model = model
        precision = fabric.strategy.precision
        self.precision = precision if isinstance(precision, StepPrecision) else None
        self.config = config
        self.settings = phase_settings(config, name)
        self.processes = Processes(fabric, self.batch_size)
        model.detector.remember_backbone(config.runtime.backbone_memory)
        objective = self._objective(model)
        self.teacher: Teacher | None = getattr(objective, "teacher", None)
        self.processes.prepare(objective)
        self.optimizers = self._optimizers(model)
        wrapped = fabric.setup(TakesOpaqueBatch(objective), *self.optimizers.values())
        self.objective: nn.Module = wrapped[0]
        self.optimizers = dict(zip(self.optimizers, wrapped[1:]))
        self.adversaries = make_adversaries(
            config.generator,
            model.vocabulary,
            self._adversarial_weights(),
            self._generator_lr,
            self.processes,
        )
        decay = config.reconstruction.ema_decay if name == "reconstruction" else 0.0
        self.average = WeightAverage(_generator_side(model), decay) if decay > 0 else None
        self.best = math.inf
        self.base_lrs = {
            name: [group["lr"] for group in o.param_groups] for name, o in self.optimizers.items()
        }

    @property
    def steps(self) -> int:
        """Number of steps of the phase."""
        return int(self.settings.steps)

    @property
    def batch_size(self) -> int:
        """Images per step, over all processes."""
        return int(self.settings.batch_size)

    def step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Train on one batch; returns the weighted losses, detached.

        Args:
            batch: on Fabric's device.
            step: its number from 0, which decides learning rates and mode.

        Raises:
            NonFiniteStep: losses or gradients are not finite; the optimizer has not stepped.
        """
        try:
            return self._step(batch, step)
        finally:
            if self.precision is not None:
                self.precision.update_scale()

    def _step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        self.set_rates(step)
        self._set_mode(step)
        num_unannotated = len(batch.unannotated) if self.name == "joint" else 0
        key = f"{self.config.seed}/{self.name}/{step}"
        random = self.processes.random(key, len(batch), num_unannotated)
        outcome: Outcome = self.objective(OpaqueBatch(batch, random))
        losses = dict(outcome.losses)
        adversaries = self.adversaries if outcome.image is not None else []
        for adversary in adversaries:
            losses |= adversary.generator_losses(outcome)
        self._descend(losses)
        for average in (self.average, self.teacher):
            if average is not None:
                average.update()
        for adversary in adversaries:
            losses |= adversary.discriminator_step(outcome)
        return {name: loss.detach() for name, loss in losses.items()}

    def finish(self) -> None:
        """After the last step: the generator's weights become their average, if there is one."""
        if self.average is not None:
            self.average.apply()

    def rates(self) -> dict[str, float]:
        """Learning rate of each optimizer (of its first parameter group)."""
        return {name: o.param_groups[0]["lr"] for name, o in self.optimizers.items()}

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the model.

        Optimizers, discriminators, weight average, teacher, the scale of the losses, `best`.
        """
        state: dict[str, Any] = {
            f"optimizer_{name}": optimizer.state_dict()
            for name, optimizer in self.optimizers.items()
        }
        for adversary in self.adversaries:
            state |= adversary.state()
        for average in (self.average, self.teacher):
            if average is not None:
                state |= average.state()
        if self.precision is not None and self.precision.scaler is not None:
            state["loss_scale"] = self.precision.state_dict()
        if math.isfinite(self.best):
            state["best"] = self.best
        return state

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        for name, optimizer in self.optimizers.items():
            load_optimizer(optimizer, state[f"optimizer_{name}"], name)
        for adversary in self.adversaries:
            adversary.load_state(state)
        for average in (self.average, self.teacher):
            if average is not None:
                average.load(state)
        if self.precision is not None and "loss_scale" in state:
            self.precision.load_state_dict(state["loss_scale"])
        self.best = state.get("best", math.inf)

    def continue_from(self, state: Mapping[str, Any]) -> None:
        """Go on with the discriminators and the generator's Adam moments of an earlier phase.

        Args:
            state: that phase's `state`, or discriminators alone; what is not in it begins anew,
                everything if `joint.fresh_discriminator`.
        """
        if self.name == "joint" and self.config.joint.fresh_discriminator:
            return
        for adversary in self.adversaries:
            adversary.continue_from(state)
        saved = state.get("optimizer_generator")
        if (
            saved is not None
            and "generator" in self.optimizers
            and not load_moments(self.optimizers["generator"], saved)
        ):
            logger.warning("Adam's moments of the generator begin anew: of other parameters")

    def _objective(self, model: AutoEncoder) -> nn.Module:
        model.requires_grad_(True)
        for parameter in model.detector.frozen_parameters():
            parameter.requires_grad_(False)
        shares = self.processes.shares if self.processes.world > 1 else None
        if self.name == "detector":
            return DetectorObjective(model.detector, shares)
        if self.name == "reconstruction":
            return ReconstructionObjective(model, self.config.reconstruction, shares)
        return JointObjective(model, self.config.joint, shares, self.regions)

    def _optimizers(self, model: AutoEncoder) -> dict[str, Optimizer]:
        config = self.config
        if self.name == "reconstruction":
            rate = config.reconstruction.lr
            return {"generator": Adam(_generator_side(model).parameters(), rate, fused=True)}
        if self.name == "detector":
            settings: DetectorPhase | JointPhase = config.detector_training
            groups = _detector_groups(model, config.detector_training)
        else:
            settings = config.joint
            groups = _graph_groups(model, config.joint)
        optimizers: dict[str, Optimizer] = {"graph": _graph_optimizer(groups, settings)}
        if self.name == "joint" and config.joint.image_loss_weight > 0:
            rate = config.joint.generator_lr
            optimizers["generator"] = Adam(_generator_side(model).parameters(), rate, fused=True)
        return optimizers

    def _adversarial_weights(self) -> AdversarialLossWeights:
        if self.name == "reconstruction":
            phase = self.config.reconstruction
            return AdversarialLossWeights(
                phase.gan,
                phase.adversarial_weight,
                phase.object_adversarial_weight,
                phase.auxiliary_weight,
                phase.image_losses.relation_adversarial_weight,
                phase.image_losses.relation_auxiliary_weight,
            )
        if self.name == "joint":
            joint = self.config.joint
            factor, of_relations = joint.image_loss_weight, joint.image_losses
            return AdversarialLossWeights(
                self.config.reconstruction.gan,
                image=factor * joint.adversarial_weight,
                relations=factor * of_relations.relation_adversarial_weight,
                relation_auxiliary=factor * of_relations.relation_auxiliary_weight,
            )
        return AdversarialLossWeights()

    @property
    def _generator_lr(self) -> float:
        config = self.config
        return (
            config.reconstruction.lr if self.name == "reconstruction" else config.joint.generator_lr
        )

    def set_rates(self, step: int) -> None:
        """Set the learning rates of all optimizers to those of a step, counted from 0."""
        warmup = getattr(self.settings, "warmup", 0)
        for name, optimizer in self.optimizers.items():
            ramp_steps = warmup if name == "graph" else 0
            for group, base in zip(optimizer.param_groups, self.base_lrs[name]):
                group["lr"] = decayed(base, step, self.steps, ramp_steps, self.settings.decay_at)
        for adversary in self.adversaries:
            rate = decayed(self._generator_lr, step, self.steps, 0, self.settings.decay_at)
            adversary.set_rate(rate)

    def _set_mode(self, step: int) -> None:
        """Training mode; from step `eval_mode_after` on evaluation mode, with a fresh optimizer."""
        self.objective.train()
        if isinstance(self.settings, DetectorPhase):
            trained = step >= self.settings.frozen_backbone_steps
            for parameter in self.model.detector.backbone_parameters():
                parameter.requires_grad_(trained)
        after = getattr(self.settings, "eval_mode_after", 0)
        if not 0 < after <= step:
            return
        self.objective.eval()
        if step == after:
            wrapped = self.optimizers["generator"]
            getattr(wrapped, "optimizer", wrapped).state.clear()

    def _descend(self, losses: Mapping[str, Tensor]) -> None:
        self.fabric.backward(torch.stack(list(losses.values())).sum())
        check_step(self.fabric, losses, self.optimizers, self.objective)
        for name, optimizer in self.optimizers.items():
            if name == "graph":
                self.fabric.clip_gradients(
                    self.objective, optimizer, max_norm=self.settings.clip, error_if_nonfinite=False
                )
            optimizer.step()
            optimizer.zero_grad()  # here, so that the memory is free in the next forward


def phase_settings(config: RunConfig, name: PhaseName) -> Any:
    """The phase's section of the configuration."""
    return {
        "detector": config.detector_training,
        "reconstruction": config.reconstruction,
        "joint": config.joint,
    }[name]


def _trainable(parts: Iterable[nn.Module]) -> list[nn.Parameter]:
    return [p for part in parts for p in part.parameters() if p.requires_grad]


def _generator_side(model: AutoEncoder) -> nn.Module:
    """What image losses alone train: the generator and the encoders of appearance, if any."""
    encoders = [part for part in (model.appearance, model.background) if part is not None]
    return nn.ModuleList([model.generator, *encoders]) if encoders else model.generator


def _graph_optimizer(
    groups: list[dict[str, Any]], settings: DetectorPhase | JointPhase
) -> Optimizer:
    if isinstance(settings, DetectorPhase) and settings.optimizer == "adamw":
        return AdamW(groups, settings.lr, weight_decay=settings.weight_decay)
    return SGD(groups, settings.lr, settings.momentum, weight_decay=settings.weight_decay)


def _detector_groups(model: AutoEncoder, settings: DetectorPhase) -> list[dict[str, Any]]:
    """Parameter groups of the detector phase: all but ImageNet's layers, then these."""
    old = list(model.detector.backbone_parameters())
    if settings.backbone_lr_factor == 1:
        return [{"params": _trainable([model.detector])}]
    in_second_group = set(old)
    new = [p for p in _trainable([model.detector]) if p not in in_second_group]
    return [{"params": new}, {"params": old, "lr": settings.lr * settings.backbone_lr_factor}]


def _graph_groups(model: AutoEncoder, joint: JointPhase) -> list[dict[str, Any]]:
    """Parameter groups of the joint phase's SGD: modules not trained before, then the detector's.

    The second group's learning rate is `detector_lr_factor` times the first's.
    """
    detector = model.detector
    pretrained = list(detector.classifier_modules())
    untrained = [part for part in detector.trainable_head_modules() if part not in pretrained]
    new = _trainable([*untrained, model.relpn, model.predictor])
    if not joint.freeze_backbone or joint.detection_weight > 0:
        pretrained = [detector]
    in_first_group = set(new)
    old = [p for p in _trainable(pretrained) if p not in in_first_group]
    groups = [
        {"params": new, "lr": joint.lr},
        {"params": old, "lr": joint.lr * joint.detector_lr_factor},
    ]
    return [group for group in groups if group["params"]]
