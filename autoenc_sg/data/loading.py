"""Training batches as a function of (seed, step), so that a resumed run equals an unbroken one."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from autoenc_sg.core.errors import InputError, bad_input
from autoenc_sg.data.base.annotation import unannotated_rows
from autoenc_sg.data.base.samples import Batch, GraphDataset, Sample, collate_samples

SampleKey = tuple[int, int]  # epoch, index


class BatchPlan(Sampler[list[SampleKey]]):
    """The batches of steps `start`..`steps - 1`, cut from an endless sequence of shuffled epochs.

    Args:
        size: samples in the data set.
        batch_size: samples a step over all processes.
        steps: end of the plan.
        seed: the order of epoch `e` follows from (seed, e).
        start: first step.
        rank, world: this process takes every `world`-th sample of a batch, from `rank` on; if
            there is none for it, one of the others', which training then does not count.

    Raises:
        InputError: there is no sample.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        steps: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if size < 1:
            raise bad_input("training images", "one or more", size)
        self.size, self.batch_size, self.steps, self.seed = size, batch_size, steps, seed
        self.start, self.rank, self.world = start, rank, world
        self._epoch, self._order = -1, torch.empty(0)

    def __len__(self) -> int:
        return max(self.steps - self.start, 0)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for step in range(self.start, self.steps):
            first = step * self.batch_size
            places = range(self.rank, self.batch_size, self.world) or (0,)
            yield [self._key(first + place) for place in places]

    def _key(self, position: int) -> SampleKey:
        epoch, place = divmod(position, self.size)
        if epoch != self._epoch:
            shuffle = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._epoch, self._order = epoch, torch.randperm(self.size, generator=shuffle)
        return epoch, int(self._order[place])


class MixedPlan(Sampler[list[SampleKey]]):
    """The batches of a plan of annotated images, each with unannotated ones behind.

    The annotated part of a batch does not depend on how many unannotated ones there are.

    Args:
        annotated: the plan of annotated images, by their place in `rows`.
        rows: index of each annotated image in the data set, and of each unannotated one.
        per_batch: unannotated images a step over all processes; those that have annotated images
            of their own share them.
    """

    def __init__(
        self,
        annotated: BatchPlan,
        rows: tuple[Sequence[int], Sequence[int]],
        per_batch: int,
    ) -> None:
        self.annotated = annotated
        self.seed = annotated.seed
        self.rows = rows
        sharing = min(annotated.world, annotated.batch_size)
        has_share = annotated.rank < min(sharing, per_batch)
        self.unannotated = (
            BatchPlan(
                len(rows[1]),
                per_batch,
                annotated.steps,
                annotated.seed + 1,
                annotated.start,
                annotated.rank,
                sharing,
            )
            if has_share
            else None
        )

    def __len__(self) -> int:
        return len(self.annotated)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        more = iter(self.unannotated) if self.unannotated is not None else repeat([])
        for annotated, unannotated in zip(self.annotated, more):
            parts = zip(self.rows, (annotated, unannotated))
            yield [(epoch, rows[place]) for rows, keys in parts for epoch, place in keys]


@dataclass(frozen=True)
class _Failure:
    """In place of a sample or batch: why it could not be read, in one line."""

    message: str


_Loaded = tuple[Sample, bool]  # whether its graph counts as unannotated


class _ByEpoch(Dataset[_Loaded | _Failure]):
    def __init__(self, dataset: GraphDataset) -> None:
        self.dataset = dataset
        self.unannotated = unannotated_rows(dataset)

    def __getitem__(self, key: SampleKey) -> _Loaded | _Failure:
        epoch, index = key
        try:
            return self.dataset.sample(index, epoch), index in self.unannotated
        except InputError as error:  # from a loader process it would come with its traceback
            return _Failure(str(error))
        except OSError as error:
            where = error.filename or f"image {self.dataset.image_ids[index]}"
            return _Failure(str(bad_input(where, "a readable image", error.strerror or error)))


def _collate(loaded: Sequence[_Loaded | _Failure]) -> Batch | _Failure:
    samples, unannotated = [], set()
    for place, item in enumerate(loaded):
        if isinstance(item, _Failure):
            return item
        samples.append(item[0])
        if item[1]:
            unannotated.add(place)
    return collate_samples(samples, frozenset(unannotated))


def _ignore_signals(worker: int) -> None:
    """In a loader process: Ctrl-C reaches all processes, but the training decides when to end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def training_loader(
    dataset: GraphDataset, plan: BatchPlan | MixedPlan, workers: int
) -> Iterator[Batch]:
    """The plan's batches; the loader's own generator keeps the global random state untouched.

    Raises:
        InputError: while iterating: an image is missing or unreadable, also in a loader process.
    """
    loader: DataLoader[_Loaded | _Failure] = DataLoader(
        _ByEpoch(dataset),
        batch_sampler=plan,
        collate_fn=_collate,
        num_workers=workers,
        worker_init_fn=_ignore_signals,
        generator=torch.Generator().manual_seed(plan.seed),
    )
    for batch in loader:
        if isinstance(batch, _Failure):
            raise InputError(batch.message)
        yield batch


def batches(
    dataset: GraphDataset,
    batch_size: int,
    limit: int | None = None,
    rank: int = 0,
    world: int = 1,
) -> Iterator[Batch]:
    """The first `limit` samples (or all) in order, unshuffled, unaugmented.

    Of several processes each takes every `world`-th sample, from `rank` on.
    """
    count = len(dataset) if limit is None else min(limit, len(dataset))
    rows = range(rank, count, world)
    for start in range(0, len(rows), batch_size):
        yield collate_samples([dataset[i] for i in rows[start : start + batch_size]])
