"""Numbers of made-up runs are named where they are wrong, and never by chance."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchproof.watch._numbers._candidates import Facts
from batchproof.watch._numbers._identify import reading_of
from batchproof.watch._numbers._series import series_of
from made_up_runs import Run, decaying

SIZES = [16] * 5 + [5]


def named(run, facts=None):
    """The grade and name of each slot."""
    series = series_of(run.losses, run.loaders)
    found = [reading_of(slot, series, facts or Facts()) for slot in run.slots]
    return [(r.grade, r.candidate.name) for r in found if r is not None]


def wrong(run, facts=None):
    return {name for grade, name in named(run, facts) if grade == "wrong"}


def shown_each_pass(what, *, epochs=4, sizes=SIZES, digits=4, word="loss", weights=None, **kwargs):
    """A run that shows what(events) after each pass."""
    run, generator = Run(), np.random.default_rng(3)
    for epoch in range(epochs):
        means = decaying(generator, len(sizes), 2.0 - 0.3 * epoch)
        events = run.one_pass(means, sizes, **kwargs)
        run.show(f"epoch {epoch} {word} {what(events):.{digits}f}")
    return run


def mean(events):
    return sum(e.total for e in events) / sum(e.weight for e in events)


def of_means(events):
    return sum(e.value for e in events) / len(events)


def samples(events):
    return sum(e.samples for e in events)


WRONG = {
    "mean-of-batch-means": of_means,
    "wrong-divisor": lambda events: sum(e.value for e in events) / samples(events),
    "last-batch-reported": lambda events: events[-1].value,
    "ratio-of-counts": lambda events: sum(math.sqrt(e.value) for e in events) / len(events),
}


@pytest.mark.parametrize("name", WRONG)
def test_beside_a_wrong_number_stands_the_mean_of_its_batches(name):
    means = []

    def what(events):
        means.append(mean(events))
        return WRONG[name](events)

    run = shown_each_pass(what, digits=6)
    (slot,) = run.slots
    reading = reading_of(slot, series_of(run.losses, run.loaders), Facts())
    root = np.sqrt if name == "ratio-of-counts" else np.asarray
    np.testing.assert_allclose(reading.mean, root(means), rtol=1e-12)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_number_is_named(name):
    assert named(shown_each_pass(WRONG[name], digits=5)) == [("wrong", name)]


@pytest.mark.parametrize(
    "count", [lambda m: m - 1, lambda m: m + 1, lambda m: 96 / 16 * 16], ids=["few", "many", "full"]
)
def test_a_sum_over_a_wrong_count_is_named(count):
    def what(events):
        divisor = count(len(events))
        return sum(e.total if divisor > 50 else e.value for e in events) / divisor

    assert wrong(shown_each_pass(what)) == {"wrong-divisor"}


RIGHT = {
    "mean": mean,
    "sum": lambda events: sum(e.total for e in events),
    "root": lambda events: math.sqrt(mean(events)),
    "perplexity": lambda events: math.exp(mean(events)),
    "bits": lambda events: mean(events) / math.log(2),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_number_is_said_to_be_right(name):
    assert named(shown_each_pass(RIGHT[name])) == [("right", "")]


@pytest.mark.parametrize("name", [*WRONG])
def test_equal_batches_make_most_mistakes_invisible(name):
    run = shown_each_pass(of_means if name == "mean-of-batch-means" else mean, sizes=[16] * 6)
    assert wrong(run) == set()


def test_one_line_of_four_digits_proves_nothing_and_one_of_five_does():
    assert wrong(shown_each_pass(of_means, epochs=1, digits=3)) == set()
    assert wrong(shown_each_pass(of_means, epochs=1, digits=5)) == {"mean-of-batch-means"}


def test_a_number_that_only_most_lines_agree_with_is_left_alone():
    run = shown_each_pass(of_means)
    run.one_pass([1.0] * 6, SIZES)
    run.show("epoch 9 loss 0.4321")
    assert named(run) == []


def test_batches_shown_as_batches_are_a_note():
    run, generator = Run(), np.random.default_rng(5)
    for _ in range(3):
        for value in run.batches(decaying(generator, 6), SIZES):
            run.show(f"step loss {value.value:.4f}")
    assert named(run) == [("note", "one-batch")]


def test_a_scaled_loss_is_named_where_the_gradient_is_scaled_alike():
    run = shown_each_pass(lambda events: mean(events) / 4, sizes=[16] * 8)
    assert wrong(run) == set()
    assert wrong(run, Facts(scale=0.25)) == {"scaled-loss-reported"}
    assert named(run, Facts(coefficients=(1.0, 0.25))) == [("right", "")]


def windows(divide, *, every=4, batches=10, epochs=3, reset=True):
    """A run that shows a sum every few batches, and after the last of a pass."""
    run, generator = Run(), np.random.default_rng(7)
    for _ in range(epochs):
        total = count = 0
        for place, value in enumerate(decaying(generator, batches)):
            run.one_pass([value], [16]) if batches == 0 else run.batch(value, 16)
            total, count = total + value, count + 1
            if (place + 1) % every == 0 or place == batches - 1:
                run.show(f"running loss {divide(total, count):.4f}")
                total, count = (0, 0) if reset else (total, count)
    return run


def test_windows_that_hold_fewer_than_they_are_divided_by_are_named():
    assert wrong(windows(lambda total, count: total / 4)) == {"window-average-off"}
    assert wrong(windows(lambda total, count: total / count)) == set()


def test_passes_cut_by_hand_end_where_their_lines_are_shown():
    run, generator = Run(), np.random.default_rng(6)
    for epoch in range(4):
        sizes = generator.integers(20, 60, 5).tolist()
        events = [
            run.batch(value, size)
            for value, size in zip(decaying(generator, 5), sizes, strict=True)
        ]
        run.show(f"epoch {epoch} loss {mean(events):.4f}", place="right.py:1")
        run.show(f"epoch {epoch} loss {of_means(events):.4f}", place="wrong.py:1")
        run.show(f"{epoch} loss {of_means(events):.4f}", place="progress.py:1")
    name = "mean-of-batch-means"
    assert named(run) == [("right", ""), ("wrong", name), ("note", name)]


def test_a_running_average_with_decay_is_what_it_is():
    run, generator, average = Run(), np.random.default_rng(9), 0.0
    for place, value in enumerate(decaying(generator, 60)):
        run.batch(value, 16)
        average = value if place == 0 else 0.9 * average + 0.1 * value
        if place % 10 == 9:
            run.show(f"smooth loss {average:.4f}")
    assert wrong(run) == set()


def test_accuracies_are_read_from_hits_in_per_cent_too():
    def of_hits(events):
        return 100 * sum(e.hits / e.samples for e in events) / len(events)

    run, generator = Run(), np.random.default_rng(1)
    for epoch in range(4):
        events = []
        for size in SIZES:
            hits = int(generator.integers(0, size + 1))
            events.append(run.batch(1.0 + hits, size, hits=hits, training=False))
        run.show(f"epoch {epoch} accuracy {of_hits(events):.2f}%")
    assert wrong(run) == {"mean-of-batch-means"}


@pytest.mark.parametrize(
    ("text", "training", "expected"),
    [
        ("epoch {} val loss {:.4f}", False, {"rank-local-reported"}),
        ("rank 0: epoch {} val loss {:.4f}", False, set()),
        ("epoch {} train loss {:.4f}", True, set()),
    ],
)
def test_the_mean_of_one_rank_of_an_evaluation_is_named(text, training, expected):
    run, generator = Run(), np.random.default_rng(4)
    for epoch in range(3):
        events = run.one_pass(decaying(generator, 6), SIZES, training=training)
        run.loaders.passes[-1].ranks = 2
        run.show(text.format(epoch, mean(events)))
    assert wrong(run) == expected


def test_a_batch_that_is_nan_and_left_out_is_named():
    run, generator = Run(), np.random.default_rng(2)
    for epoch in range(3):
        means = decaying(generator, 6)
        means[2] = math.nan
        events = run.one_pass(means, SIZES)
        finite = [e.value for e in events if e.value == e.value]
        run.show(f"epoch {epoch} loss {sum(finite) / len(finite):.4f}")
    assert wrong(run) == {"nan-batch-dropped"}


seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=60)
@given(seeds)
def test_numbers_that_have_nothing_to_do_with_the_losses_are_never_accused(seed):
    """Learning rates, times, seeds, norms, other metrics: unlabelled, near the losses or far."""
    generator = np.random.default_rng(seed)
    run, sizes = Run(), [16] * int(generator.integers(2, 9)) + [int(generator.integers(1, 16))]
    epochs, rate = int(generator.integers(1, 7)), float(10 ** generator.uniform(-5, 0))
    for _ in range(epochs):
        events = run.one_pass(decaying(generator, len(sizes)), sizes)
        run.one_pass(decaying(generator, 4), [32] * 3 + [9], site="eval.py:5", training=False)
        rate *= 0.9
        near = mean(events) * generator.uniform(0.5, 1.5, 4)
        close = mean(events) * (1 + 0.01 * generator.normal())
        far = 10 ** generator.uniform(-4, 4, 3)
        for place, value in enumerate((rate, close, *near, *far)):
            digits = (4, 5, 6)[place % 3]
            run.show(f"value {value:.{digits}g}", place=f"x.py:{place}")
            run.show(f"value {value:.4f}", place=f"y.py:{place}")
    assert wrong(run) == set()


@settings(max_examples=100)
@given(seeds)
def test_right_numbers_are_never_accused_whatever_the_sizes(seed):
    generator = np.random.default_rng(seed)
    run = Run()
    digits = int(generator.integers(2, 8))
    for _ in range(int(generator.integers(1, 6))):
        sizes = generator.integers(1, 40, int(generator.integers(1, 9))).tolist()
        events = run.one_pass(decaying(generator, len(sizes)), sizes)
        for name, what in RIGHT.items():
            run.show(f"{name} {what(events):.{digits}f}")
    assert wrong(run) == set()


@settings(max_examples=100)
@given(seeds, st.sampled_from(sorted(WRONG)))
def test_a_mistake_is_never_called_by_another_name(seed, name):
    generator = np.random.default_rng(seed)
    run = Run()
    for _ in range(int(generator.integers(2, 6))):
        sizes = [16] * int(generator.integers(2, 9)) + [int(generator.integers(1, 16))]
        events = run.one_pass(decaying(generator, len(sizes)), sizes)
        run.show(f"epoch value {WRONG[name](events):.5f}")
    assert wrong(run) <= {name}
