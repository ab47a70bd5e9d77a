r"""Predicates without the bias of context: the total direct effect (Tang et al. 2020, "Unbiased").

Three branches speak of a pair k = (i, j): its context x_k, its union box v_k, its labels z_k.

    logits(x, v, z) = W_x x \sigma(W_v v + b[z] + W_g x)          `gate`
    logits(x, v, z) = W_x x + W_v v + b[z]                        `sum`

b is the frequency bias. Trained as they are, with further cross entropies on the branch W_x x, and
with `sum` on the two others. Used with `effect`, with the means x' and z' of the training pairs:

    tde:  logits(x, v, z) - logits(x', v, z)         what the pair's own context adds
    nie:  logits(x', v, z) - logits(x', v, z')       what its labels add
    te:   logits(x, v, z) - logits(x', v, z')

In an effect b[z] is the mean of b over the classes' distributions, without one it is that of the
best classes. Means follow the batches at a rate of 0.0005.

Deviations from Scene-Graph-Benchmark: x' is the mean of x_k, not what the context layers make of
mean inputs; the first batch sets the means.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from autoenc_sg.config.predictor import Effect
from autoenc_sg.predictors.parts.frequency_bias import FrequencyBias

_RATE = 0.0005


class CausalEffect(nn.Module):
    """The branches and the effects; formulas in the module's docstring.

    Args:
        form: `gate` or `sum`.
        effect: in evaluation mode; `none`: the logits themselves.
        dim: width of x and v.
        num_classes, num_predicates: C and P with the reserved 0.
    """

    mean_context: Tensor
    mean_classes: Tensor
    num_updates: Tensor

    def __init__(
        self,
        form: Literal["gate", "sum"],
        effect: Effect,
        dim: int,
        num_classes: int,
        num_predicates: int,
    ) -> None:
        super().__init__()
        self.form, self.effect = form, effect
        self.context = nn.Linear(dim, num_predicates)  # W_x
        self.visual = nn.Linear(dim, num_predicates)  # W_v
        self.gate = nn.Linear(dim, num_predicates) if form == "gate" else None  # W_g
        self.register_buffer("mean_context", torch.zeros(dim))  # x'
        self.register_buffer("mean_classes", torch.zeros(2, num_classes))  # z'
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    def forward(
        self,
        context: Tensor,
        visual: Tensor,
        bias: FrequencyBias,
        object_logits: Tensor,
        pairs: Tensor,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The logits of the pairs, and those of the branches that have losses of their own.

        Shapes: `context [M, dim], visual [M, dim], object_logits [N, C], pairs [M, 2] -> [M, P]`
        and tuples of `[M, P]`.
        """
        classes = object_logits.softmax(-1)
        if self.training:
            self._follow(context, classes[pairs])
        labels = object_logits[:, 1:].argmax(-1) + 1
        if not self.training and self.effect != "none":
            return self._effect(context, visual, bias, classes, pairs), ()
        frequency = bias(labels, pairs)
        logits = self.logits(context, visual, frequency)
        branches: tuple[Tensor, ...] = (self.context(context),)
        if self.form == "sum":
            branches += (self.visual(visual), frequency)
        return logits, branches

    def logits(self, context: Tensor, visual: Tensor, frequency: Tensor) -> Tensor:
        """`logits(x, v, z)` with b[z] given: `[M, P]`; x may be one row for all pairs."""
        logits: Tensor = self.context(context)
        others: Tensor = self.visual(visual) + frequency
        if self.gate is None:
            return logits + others
        gates: Tensor = (others + self.gate(context)).sigmoid()
        return logits * gates

    def _effect(
        self, context: Tensor, visual: Tensor, bias: FrequencyBias, classes: Tensor, pairs: Tensor
    ) -> Tensor:
        frequency = bias.expected(classes, pairs)
        mean_pair = torch.arange(2, device=pairs.device)[None]
        mean_frequency = bias.expected(self.mean_classes.to(classes), mean_pair)
        with_own = self.logits(context, visual, frequency)
        mean_context = self.mean_context.to(context)[None]
        match self.effect:
            case "tde":
                return with_own - self.logits(mean_context, visual, frequency)
            case "nie":
                with_own = self.logits(mean_context, visual, frequency)
        return with_own - self.logits(mean_context, visual, mean_frequency)

    @torch.no_grad()
    def _follow(self, context: Tensor, classes: Tensor) -> None:
        """Move the means towards those of a batch; without a pair they stay."""
        if len(context) == 0:
            return
        rate = 1.0 if int(self.num_updates) == 0 else _RATE
        self.mean_context.lerp_(context.mean(0).to(self.mean_context), rate)
        self.mean_classes.lerp_(classes.mean(0).to(self.mean_classes), rate)
        self.num_updates += 1
