"""A micro-batch that does not fit in memory: the window's result is that of a smaller cut."""

import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_sequence

import batchproof as bp
import ragged_training
import step_models as models
from memory_cases import Drawing, NoRoom, Room, last_attempt, samples

WHERE = ("forward", "backward")


def state_of(model, optimizer):
    """Everything that a step may have moved."""
    moments = [v for state in optimizer.state.values() for v in state.values()]
    drawn = torch.rand(3), model.generator.get_state(), torch.tensor(np.random.random(3))
    return [*model.state_dict().values(), *moments, *drawn]


def trained(windows, loss, *, kind=torch.optim.Adam, **settings):
    """Train over windows; return the step, all that was moved, and the cut of each window."""
    torch.manual_seed(7)
    np.random.seed(7)
    model = Drawing()
    optimizer = kind(model.parameters(), lr=0.1)
    step = bp.Step(model, optimizer, **settings)
    cuts = []
    for window in windows:
        before = len(step.memory.splits)
        loss.attempt = []
        step(window, loss)
        cuts.append((len(step.memory.splits) - before, loss.attempt))
    return step, state_of(model, optimizer), cuts


@settings(max_examples=20)
@given(
    sizes=st.lists(st.lists(st.integers(2, 17), min_size=1, max_size=4), min_size=1, max_size=3),
    rows=st.integers(4, 12),  # batch norm takes no single row
    where=st.sampled_from(WHERE),
    kind=st.sampled_from([torch.optim.Adam, torch.optim.SGD, torch.optim.LBFGS]),
    clip=st.sampled_from([None, 0.1]),
)
def test_the_result_is_bit_for_bit_that_of_the_smaller_cut_from_the_start(
    sizes, rows, where, kind, clip
):
    windows = [
        [samples(n, 10 * w + m) for m, n in enumerate(window)] for w, window in enumerate(sizes)
    ]
    chosen = {"kind": kind, "max_grad_norm": clip}
    step, ours, cuts = trained(windows, Room(rows, where), out_of_memory="split", **chosen)
    smaller = [last_attempt(seen, w) for (_, seen), w in zip(cuts, windows, strict=True)]
    _, theirs, _ = trained(smaller, Room(None), **chosen)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)
    # what fits is remembered: no size fails twice, and none is smaller than it must be
    failed = [split.samples for split in step.memory.splits]
    assert failed == sorted(set(failed), reverse=True)
    assert all(n > rows for n in failed)
    assert all(rows / 2 < split.fits < split.samples for split in step.memory.splits)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("count", ["forward", models.counted])
def test_several_terms_are_counted_and_cut_alike(where, count):
    windows = [[samples(9, 1), samples(8, 2)], [samples(9, 3)]]

    def run(cuts, room, **chosen):
        return trained(cuts, room, count=count, coefficients={"sides": 0.3}, **chosen)

    room = Room(5, where, models.two_terms)
    step, ours, cuts = run(windows, room, out_of_memory="split")
    assert [split.samples for split in step.memory.splits] == [9]
    smaller = [last_attempt(seen, w) for (_, seen), w in zip(cuts, windows, strict=True)]
    _, theirs, _ = run(smaller, Room(None, mean=models.two_terms))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)


def test_what_fits_is_used_from_then_on_and_survives_a_checkpoint():
    windows = [[samples(16, seed)] for seed in range(4)]
    step, _, cuts = trained(windows, Room(5), out_of_memory="split")
    assert [failed for failed, _ in cuts] == [2, 0, 0, 0]
    assert [(s.step, s.samples, s.fits) for s in step.memory.splits] == [(1, 16, 8), (1, 8, 4)]
    assert [len(batch["x"]) for batch in cuts[1][1]] == [4, 4, 4, 4]
    other = bp.Step(step.model, torch.optim.SGD(step.model.parameters()), out_of_memory="split")
    other.load_state_dict(step.state_dict())
    room = Room(5)
    other([samples(16, 9)], room)
    assert [len(batch["x"]) for batch in room.attempt] == [4, 4, 4, 4]
    assert not other.memory.splits
    # a checkpoint of a step that did not know of it
    other.load_state_dict({"steps": 3, "skipped": 0})
    assert other.memory.fits is None


def test_a_micro_batch_of_a_plan_is_planned_again_and_trimmed():
    def passes(loss_of, loader, **budget):
        shapes = []

        def loss(model, batch):
            if batch["ids"].numel() > 40 and loss_of == "small":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            shapes.append(tuple(batch["ids"].shape))
            return ragged_training.loss(model, batch)

        model = ragged_training.Model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        step = bp.Step(model, optimizer, out_of_memory="split")
        for window in bp.windows(loader, **budget):
            step(window, loss)
        return shapes, ragged_training.flat(model)

    texts = [torch.arange(1, size + 1) for size in (20, 19, 2, 2, 2, 2, 2, 2)]
    loader = [ragged_training.collate(texts)]
    shapes, weights = passes("small", loader, tokens=160)
    assert (6, 2) in shapes
    assert max(rows * longest for rows, longest in shapes) <= 40
    _, expected = passes("large", loader, tokens=160)
    torch.testing.assert_close(weights, expected, rtol=1e-12, atol=1e-13)
    shapes, halved = passes("small", loader)
    # nobody asked for trimming: the rows stay as wide as they came
    assert {longest for _, longest in shapes} == {20}
    torch.testing.assert_close(halved, expected, rtol=1e-12, atol=1e-13)


def test_layers_that_depend_on_the_cut_are_named_once():
    step, _, _ = trained([[samples(16, 1)]], Room(5), out_of_memory="split")
    first, second = map(str, step.memory.splits)
    assert "step 1: a micro-batch of 16 samples did not fit in memory" in first
    assert "BatchNorm1d 'layers.norm', Dropout 'layers.drop'" in first
    assert "by nature" not in second
    assert "out of memory" in step.memory.splits[0].reason


def test_gradients_outside_the_optimiser_are_those_of_the_passes_that_counted():
    results = []
    for rows in (None, 3):
        model = models.model_of()
        optimizer = torch.optim.SGD(model[2].parameters(), 0.1)
        model[0].weight.grad = torch.full_like(model[0].weight, 5.0)
        whole = samples(4, 1)
        halves = [{k: v[:2] for k, v in whole.items()}, {k: v[2:] for k, v in whole.items()}]
        window = halves if rows is None else [whole]
        bp.Step(model, optimizer, out_of_memory="split")(window, Room(rows, "backward"))
        results.append([p.grad for p in model[0].parameters()])
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)


@pytest.mark.parametrize("where", WHERE)
def test_what_the_failed_pass_held_is_freed_before_the_next(where):
    # somebody keeps the error, and with it the frames of the pass
    held, errors = [], []

    def loss(model, batch):
        large = model(batch["x"])
        if len(batch["x"]) > 2:
            held.append(weakref.ref(large))
            if where == "forward":
                errors.append(torch.OutOfMemoryError("CUDA out of memory."))
                raise errors[0]
            large = NoRoom.apply(large)
        elif held:
            assert held[0]() is None
        return bp.reduce((large - batch["y"]) ** 2)

    model = models.model_of()
    step = bp.Step(model, torch.optim.SGD(model.parameters(), 0.1), out_of_memory="split")
    step([samples(4, 1)], loss)
    assert len(held) == 1


def test_one_sample_that_does_not_fit_is_named_with_its_size():
    model = models.model_of()
    step = bp.Step(model, torch.optim.SGD(model.parameters(), 0.1), out_of_memory="split")
    with pytest.raises(
        bp.SampleTooLargeError, match=r"step 1: one row alone, a sample, .*x \(1, 3\)"
    ):
        step([samples(4, 1)], Room(0))
    assert isinstance(bp.SampleTooLargeError(), MemoryError)
    assert [split.fits for split in step.memory.splits] == [2, 1]


@pytest.mark.parametrize(
    ("batch", "shown"),
    [
        ({"x": torch.ones(4, 3), "weights": torch.ones(3)}, r"x is a tensor \(4, 3\)"),
        ({"x": torch.ones(4, 3), "count": torch.tensor(4)}, r"count is a tensor \(\)"),
        ({"x": torch.ones(4, 3), "count": 4}, "count is int"),
        ((torch.ones(4, 3), np.ones(4)), r"\[1\] is ndarray"),
        (pack_sequence([torch.ones(1, 2)]), "the batch is PackedSequence|batch is PackedSequence"),
        ([torch.ones(2), torch.ones(3)], r"\[0\] is a tensor \(2,\)"),
        (["text"], "the batch is list"),
    ],
)
def test_a_batch_that_cannot_be_split_by_samples_is_refused_at_once(batch, shown):
    model = models.model_of()
    step = bp.Step(model, torch.optim.SGD(model.parameters(), 0.1), out_of_memory="split")
    with pytest.raises(
        bp.DataError, match=f"out_of_memory is 'split', but {shown}.*a row per sampl"
    ):
        step([batch], models.squares)


def test_texts_flags_and_lists_of_one_item_a_sample_are_split_with_the_rest():
    model, parts = models.model_of(), []

    def loss(model, batch):
        parts.append((batch["names"], batch["split"], batch["flag"]))
        return Room(2)(model, batch)

    step = bp.Step(model, torch.optim.SGD(model.parameters(), 0.1), out_of_memory="split")
    step([{**samples(4, 1), "split": "train", "flag": True}], loss)
    halves = [["sample 0", "sample 1"], ["sample 2", "sample 3"]]
    assert parts[1:] == [(half, "train", True) for half in halves]


def test_other_errors_and_errors_outside_the_passes_are_raised_as_they_are():
    model = models.model_of()

    class Full(torch.optim.SGD):
        def step(self, closure=None):
            raise torch.OutOfMemoryError("CUDA out of memory.")

    step = bp.Step(model, Full(model.parameters(), 0.1), out_of_memory="split")
    with pytest.raises(torch.OutOfMemoryError):
        step([samples(4, 1)], models.squares)

    def broken(model, batch):
        raise RuntimeError("shapes disagree")

    with pytest.raises(RuntimeError, match="shapes disagree"):
        step([samples(4, 1)], broken)
    assert not step.memory.splits


def test_without_split_running_out_of_memory_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        trained([[samples(9, 1)]], Room(5))


def test_settings_that_do_not_go_together_are_refused(unchecked):
    model = models.model_of()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(bp.SettingError, match="out_of_memory is 'halve'; expected 'raise' or"):
        bp.Step(model, optimizer, out_of_memory="halve")
    step = bp.Step(model, optimizer, out_of_memory="split")
    with pytest.raises(bp.SettingError, match=r"backward\(mean\) is given each once"):
        step.backward(models.squares(model, samples(4, 1)))


CPU = """
import resource, sys, torch
from torch import nn
import batchproof as bp

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.narrow, self.out = nn.Linear(8, 8), nn.Linear(8, 1)
    def forward(self, x):
        return self.out(torch.tanh(self.narrow(x)).repeat(1, 200_000).view(len(x), -1, 8)).mean(1)

def used():
    pages = open("/proc/self/statm").read().split()[0]
    return int(pages) * resource.getpagesize()

def trained(windows, choice):
    model = Wide()
    step = bp.Step(model, torch.optim.SGD(model.parameters(), 0.1), out_of_memory=choice)
    for window in windows:
        step(window, loss)
    return step, torch.cat([p.detach().flatten() for p in model.parameters()])

x = torch.randn(32, 8)
mse = bp.exact(nn.MSELoss())
loss = lambda model, batch: mse(model(batch[0]), batch[1])
trained([[(x[:1], x[:1, :1])]], "raise")
_, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used() + 200 * 2**20, hard))
windows = 3 * [[(x, x[:, :1])]]
step, ours = trained(windows, sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
_, theirs = trained(map(step.memory.cut, windows), "raise")
print(len(step.memory.splits), torch.equal(ours, theirs), step.memory.splits[0].reason)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS")
def test_memory_of_the_processor_that_really_runs_out_is_halved_too():
    def run(choice):
        command = [sys.executable, "-c", CPU, choice]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)

    plain = run("raise")
    assert plain.returncode == 1
    assert "can't allocate memory" in plain.stderr
    split = run("split")
    assert split.returncode == 0, split.stderr
    splits, equal, reason = split.stdout.split(maxsplit=2)
    assert 1 <= int(splits) <= 5
    assert equal == "True"
    assert "can't allocate memory" in reason


@pytest.mark.gpu
def test_a_device_whose_memory_really_runs_out_ends_where_one_with_room_does():
    cuda = torch.device("cuda")

    def trained_on_device(windows, choice):
        torch.manual_seed(0)
        layers = [torch.nn.Linear(64, 4096), torch.nn.Dropout(0.1), torch.nn.Linear(4096, 1)]
        model = torch.nn.Sequential(*layers).to(cuda)
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        step = bp.Step(model, optimizer, out_of_memory=choice)
        loss = bp.supervised(torch.nn.MSELoss())
        losses = [step(window, loss).loss.item() for window in windows]
        return step, [*losses, *(p.detach().sum().item() for p in model.parameters())]

    x = torch.randn(2**15, 64, device=cuda)
    windows = 4 * [[(x, x[:, :1])]]
    room = torch.cuda.get_device_properties(cuda).total_memory
    torch.cuda.set_per_process_memory_fraction(2**30 / room)
    try:
        step, ours = trained_on_device(windows, "split")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    splits = step.memory.splits
    assert [split.step for split in splits] == [1] * len(splits)
    assert 1 <= len(splits) <= 3
    _, theirs = trained_on_device([step.memory.cut(window) for window in windows], "raise")
    assert ours == theirs
