"""Batches as a function of (seed, step)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from autoenc_sg.core.errors import InputError
from autoenc_sg.core.scene_graph import SceneGraph
from autoenc_sg.core.vocabulary import Vocabulary
from autoenc_sg.data.base.samples import Sample
from autoenc_sg.data.loading import BatchPlan, MixedPlan, batches, training_loader

sizes = st.integers(1, 7)


class Numbers:
    """A data set whose images say which index and epoch they are of."""

    vocabulary = Vocabulary.from_names(["a"], ["b"])

    def __init__(self, size: int) -> None:
        self.image_ids = tuple(range(size))

    def __len__(self) -> int:
        return len(self.image_ids)

    def graph(self, index: int, epoch: int = 0) -> SceneGraph:
        return SceneGraph.empty((2, 2))

    def sample(self, index: int, epoch: int = 0) -> Sample:
        image = torch.full((3, 2, 2), epoch, dtype=torch.uint8)
        return Sample(image, self.graph(index, epoch), index)

    def __getitem__(self, index: int) -> Sample:
        return self.sample(index)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.integers(0, 9), st.integers(0, 99))
def test_the_plan_is_an_endless_row_of_shuffled_epochs(
    size: int, batch: int, steps: int, seed: int
) -> None:
    plan = list(BatchPlan(size, batch, steps, seed))
    assert [len(keys) for keys in plan] == [batch] * steps
    row = [key for keys in plan for key in keys]
    assert [epoch for epoch, _ in row] == [k // size for k in range(len(row))]
    for start in range(0, len(row) - size + 1, size):
        assert sorted(index for _, index in row[start : start + size]) == list(range(size))
    assert plan == list(BatchPlan(size, batch, steps, seed))


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.integers(0, 9), st.integers(0, 9))
def test_a_plan_resumed_in_the_middle_goes_on_alike(
    size: int, batch: int, steps: int, start: int
) -> None:
    resumed = BatchPlan(size, batch, steps, 3, start)
    assert list(resumed) == list(BatchPlan(size, batch, steps, 3))[start:]
    assert len(resumed) == len(list(resumed))


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.integers(1, 4), st.integers(0, 4))
def test_ranks_partition_each_batch(size: int, batch: int, world: int, start: int) -> None:
    whole = list(BatchPlan(size, batch, 5, 1, start))
    parts = [list(BatchPlan(size, batch, 5, 1, start, rank, world)) for rank in range(world)]
    for step, keys in enumerate(whole):
        shares = [part[step] for part in parts[:batch]]
        assert sorted(k for share in shares for k in share) == sorted(keys)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        assert all(part[step] == keys[:1] for part in parts[batch:])  # which do not count


def test_epochs_and_seeds_differ() -> None:
    first, second = list(BatchPlan(50, 50, 2, 0))
    other = next(iter(BatchPlan(50, 50, 2, 1)))
    orders = [[index for _, index in keys] for keys in (first, second, other)]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]
    assert orders[1] != orders[2]


def test_no_sample_is_refused() -> None:
    with pytest.raises(InputError, match="training images: expected one or more, got 0"):
        BatchPlan(0, 2, 3, 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_follows_the_plan_and_leaves_the_random_state(workers: int) -> None:
    plan = BatchPlan(5, 2, 6, 7, 1)
    before = torch.get_rng_state()
    got = list(training_loader(Numbers(5), plan, workers))
    assert torch.equal(before, torch.get_rng_state())
    keys = list(BatchPlan(5, 2, 6, 7, 1))
    assert [list(b.image_ids) for b in got] == [[i for _, i in k] for k in keys]
    epochs = [[int(image[0, 0, 0]) for image in b.images] for b in got]
    assert epochs == [[e for e, _ in k] for k in keys]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 7), sizes, st.none() | st.integers(0, 9))
def test_batches_in_order(size: int, batch: int, limit: int | None) -> None:
    got = list(batches(Numbers(size), batch, limit))
    count = size if limit is None else min(size, limit)
    assert [i for b in got for i in b.image_ids] == list(range(count))
    assert all(len(b) == batch for b in got[:-1])
    assert all(len(b) >= 1 for b in got)


def test_a_batch_holds_the_images() -> None:
    (batch,) = batches(Numbers(2), 2)
    assert_close(torch.stack(batch.images), torch.zeros(2, 3, 2, 2, dtype=torch.uint8))
    assert batch.graphs.num_images == 2


@pytest.mark.parametrize(("batch_size", "per_batch"), [(3, 2), (1, 3), (4, 1), (2, 0)])
def test_mixed_batches_are_shared_by_processes(batch_size: int, per_batch: int) -> None:
    """Each process has images of both kinds; one without annotated images does not count."""
    annotated, unannotated = [0, 2, 4, 6, 8], [1, 3, 5]
    plan = BatchPlan(5, batch_size, 4, 7)
    whole = list(MixedPlan(plan, (annotated, unannotated), per_batch))
    for step, keys in enumerate(whole):
        alone = [(epoch, annotated[place]) for epoch, place in list(plan)[step]]
        assert keys[:batch_size] == alone  # whatever per_batch is
        assert len(keys) == batch_size + per_batch
        assert {index for _, index in keys[batch_size:]} <= set(unannotated)
    for world in (2, 3):
        parts = [
            list(
                MixedPlan(
                    BatchPlan(5, batch_size, 4, 7, rank=rank, world=world),
                    (annotated, unannotated),
                    per_batch,
                )
            )
            for rank in range(min(world, batch_size))
        ]
        for step, keys in enumerate(whole):
            of_processes = [key for part in parts for key in part[step]]
            assert sorted(of_processes) == sorted(keys)
        if batch_size == 1:
            idle = BatchPlan(5, 1, 4, 7, rank=1, world=world)
            (first, *_) = MixedPlan(idle, (annotated, unannotated), per_batch)
            assert len(first) == 1


def test_a_mixed_plan_goes_on_where_it_was() -> None:
    rows = ([0, 2, 4], [1, 3])
    whole = list(MixedPlan(BatchPlan(3, 2, 5, 1), rows, 3))
    assert list(MixedPlan(BatchPlan(3, 2, 5, 1, 3), rows, 3)) == whole[3:]
    drawn = [index for keys in whole for _, index in keys[2:]]
    assert abs(drawn.count(1) - drawn.count(3)) <= 1  # epochs of their own
