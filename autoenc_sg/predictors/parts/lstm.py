r"""The LSTMs of Neural Motifs (Zellers et al. 2018), over tables with a line for each image.

The cell of the alternating highway LSTM (He et al. 2017, after Zhang et al. 2016):

    (i, f, g, o, r, p) = W x (+ U h + b for the first five)
    c <- \sigma(f) c + \sigma(i) tanh(g)
    h <- \sigma(r) \sigma(o) tanh(c) + (1 - \sigma(r)) p

Layers read the line forward and backward in turn; the output is the last layer's alone. The bias of
f starts at 1. In training h may be multiplied by a mask after each step (variational dropout, Gal
and Ghahramani 2016): one mask for all steps of a line in a layer.

Deviation: PyTorch's initialization, not block-orthogonal.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from autoenc_sg.core.layers import ImageRandom
from autoenc_sg.predictors.parts.embeddings import ByImage


class HighwayCell(nn.Module):
    """One step of a highway LSTM; formula in the module's docstring.

    Args:
        input_dim: width of x.
        dim: width of the states.
        dropout: of h, 0..1, see `mask`.
    """

    def __init__(self, input_dim: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim, self.dropout = dim, dropout
        self.inputs = nn.Linear(input_dim, 6 * dim, bias=False)  # W
        self.states = nn.Linear(dim, 5 * dim)  # U, b
        with torch.no_grad():
            self.states.bias[dim : 2 * dim] = 1

    def start(self, lines: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """States (h, c) of zeros: `[lines, dim]` each."""
        zeros = like.new_zeros(lines, self.dim)
        return zeros, zeros

    def mask(self, lines: int, random: ImageRandom | None) -> Tensor | None:
        """Factors of h in all steps, `[lines, dim]`: 0, or 1 / (1 - dropout); None: no dropout.

        There is a line for each image of `random`.
        """
        if random is None or self.dropout == 0 or not self.training:
            return None
        drawn = random.uniform(torch.arange(lines, device=random.device), self.dim)
        return (drawn >= self.dropout) / (1 - self.dropout)

    def step(
        self, projected: Tensor, state: tuple[Tensor, Tensor], mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The states after an input, given as `self.inputs(x) [B, 6 dim]`; h times the mask."""
        h, c = state
        gates, path = projected.split([5 * self.dim, self.dim], 1)
        i, f, g, o, r = (gates + self.states(h)).chunk(5, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        r = r.sigmoid()
        h = r * o.sigmoid() * c.tanh() + (1 - r) * path
        return h if mask is None else (h * mask).to(h), c


class AlternatingHighwayLSTM(nn.Module):
    """A stack of highway layers that read forward and backward in turn.

    Args:
        input_dim: width of the inputs.
        dim: width of the outputs.
        layers: one or more.
        dropout: of the cells.

    Shapes: `[B, n, input_dim] -> [B, n, dim]`; whole where a line is filled up.
    """

    def __init__(self, input_dim: int, dim: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.cells = nn.ModuleList(
            HighwayCell(dim if layer else input_dim, dim, dropout) for layer in range(layers)
        )

    def forward(
        self, table: Tensor, by_image: ByImage, random: ImageRandom | None = None
    ) -> Tensor:
        """The last layer's outputs; `random` is for dropout."""
        columns = list(range(table.shape[1]))
        for layer, cell in enumerate(self.cells):
            assert isinstance(cell, HighwayCell)
            order = columns if layer % 2 == 0 else columns[::-1]
            table = _read(cell, table, by_image, order, cell.mask(len(table), random))
        return table


def _read(
    cell: HighwayCell,
    table: Tensor,
    by_image: ByImage,
    columns: Sequence[int],
    mask: Tensor | None,
) -> Tensor:
    """The outputs of a layer that reads the columns in this order; filled places change nothing."""
    projected = cell.inputs(table)
    state = cell.start(len(table), projected)
    outputs = [projected] * table.shape[1]
    for column in columns:  # each step is of all images
        h, c = cell.step(projected[:, column], state, mask)
        is_row = by_image.is_row[:, column, None]
        state = torch.where(is_row, h, state[0]), torch.where(is_row, c, state[1])
        outputs[column] = state[0]
    return torch.stack(outputs, 1)


class BidirectionalLSTM(nn.Module):
    """PyTorch's LSTM in both directions, and a linear layer to `dim`; shapes as its alternative.

    Args:
        input_dim: width of the inputs.
        dim: width of the outputs, and of the states of each direction.
        layers: one or more.
    """

    def __init__(self, input_dim: int, dim: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_dim, dim, layers, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * dim, dim)

    def forward(self, table: Tensor, by_image: ByImage) -> Tensor:
        """The outputs of both directions, joined."""
        lengths = by_image.counts.clamp(min=1).cpu()  # a line of no row is read as one of zeros
        packed = pack_padded_sequence(table, lengths, batch_first=True, enforce_sorted=False)
        read, _ = pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=table.shape[1]
        )
        outputs: Tensor = self.output(read)
        return outputs
