import json
import math
import subprocess
import sys
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

import batchproof as bp
from batchproof import explain
from batchproof.data import Cost, plan
from batchproof.page import Code, Formula

TOPICS = explain.topics()
NAMES = [
    "mean",
    "cross-entropy",
    "sgd",
    "momentum",
    "sum-or-mean",
    "padding",
    "accumulation",
    "cut",
    "ranks",
    "class-weights",
    "best-checkpoint",
]


def test_there_are_eleven_topics_and_each_says_what_it_shows():
    assert list(TOPICS) == NAMES
    assert all(len(topic.summary) > 20 for topic in TOPICS.values())
    assert all(option.help for topic in TOPICS.values() for option in topic.options)


@pytest.mark.parametrize("name", NAMES)
def test_every_topic_is_told_in_the_terminal_and_as_a_page(name):
    told = TOPICS[name].explain()
    assert told.topic == name
    text = told.to_text(80)
    assert told.title in text
    assert max(map(len, text.splitlines())) <= 100
    assert "\x1b" not in text
    assert "nan" not in text
    page = told.to_html()
    assert page.startswith("<!doctype html>")
    assert "<svg" in page
    assert "://" not in page
    assert "<script" not in page


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_cut_off_in_a_terminal_of_80_columns(name):
    text = TOPICS[name].explain().to_text(width=80)
    assert "…" not in text
    shown = " ".join(text.split())
    for part in TOPICS[name].explain().parts:
        if isinstance(part, Code | Formula):
            assert " ".join(part.text.split()) in shown


@pytest.mark.parametrize("name", TOPICS)
def test_defaults_written_as_text_give_the_same_as_no_options(name):
    topic = TOPICS[name]
    texts = {o.name: o.text() for o in topic.options if o.default is not None}
    assert topic.explain(**texts).numbers == topic.explain().numbers


def test_importing_explain_loads_no_torch():
    code = "import sys, batchproof.explain as e; e.topics()['mean'].explain().to_html(); "
    done = subprocess.run(
        [sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], timeout=60, check=False
    )
    assert done.returncode == 0


def test_an_unknown_option_is_refused_with_those_there_are():
    with pytest.raises(bp.SettingError, match="no option 'size'; it takes losses, samples"):
        TOPICS["mean"].explain(size=3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mean", {"batch_size": 0}, "batch_size is 0; expected a whole number from 1"),
        ("mean", {"batch_size": "ten"}, "batch_size is 'ten'; expected a whole number. Write it"),
        ("mean", {"losses": "1,nan"}, "losses contains nan"),
        ("mean", {"losses": "1,,2"}, "losses is '1,,2'; expected numbers separated by commas"),
        ("mean", {"losses": "1e300,1"}, "losses contains 1e\\+300; expected sizes up to 1e\\+30"),
        ("mean", {"losses": ""}, "losses has 0 values; expected at least 1"),
        ("cross-entropy", {"logits": "1"}, "at least 2"),
        ("cross-entropy", {"target": 3}, "target is 3; expected a whole number from 0 to 2"),
        ("cross-entropy", {"logits": "0,10000"}, "spread over 10000"),
        ("cross-entropy", {"label_smoothing": 1.0}, "from 0 to below 1"),
        ("momentum", {"curvature": 1000.0}, "w grows without bound; expected lr times curvature"),
        ("sgd", {"lr": 1e20}, "w and b grow without bound, past 1e\\+100 in step 5"),
        ("momentum", {"lr": 1e20}, r"expected lr times curvature below 2 \(1 \+ momentum\) = 3.8"),
        ("sgd", {"lr": 0.0}, "lr is 0.0; expected a number above 0"),
        ("sgd", {"inputs": "1,2"}, "inputs has 2 and targets has 3"),
        ("momentum", {"change_at": 99}, "change_at is 99"),
        ("sum-or-mean", {"optimizer": "lion"}, "expected one of sgd, momentum, adam, adamw"),
        ("sum-or-mean", {"factor": -1.0}, "factor is -1.0; expected a finite number above 0"),
        ("padding", {"lengths": "3,0,1,1"}, "lengths contains 0"),
        ("padding", {"lengths": "3"}, "lengths has 1 and losses has 4"),
        ("accumulation", {"sizes": "0,0,0,0"}, "a window no weight"),
        ("ranks", {"world_size": 0}, "world_size is 0"),
        ("class-weights", {"targets": "0,1,2,0,0,0,0,0"}, "targets contains 2 but weights has 2"),
        ("class-weights", {"weights": "-1,1"}, "0 or more"),
        ("best-checkpoint", {"val_losses": "1,2"}, "val_losses has 2 and last_batch_losses has 6"),
    ],
)
def test_values_that_are_invalid_are_refused_in_one_line(name, options, message):
    with pytest.raises(bp.SettingError, match=message) as refused:
        TOPICS[name].explain(**options)
    assert "\n" not in str(refused.value)


def test_105_samples_of_loss_1_have_mean_1_either_way():
    numbers = explain.mean(last_loss=1.0).numbers
    assert numbers["mean"] == 1.0
    assert numbers["mean_of_batch_means"] == 1.0
    assert numbers["bias"] == 0.0


def test_105_samples_whose_last_5_are_harder_are_told_apart():
    numbers = explain.mean().numbers
    assert numbers["mean"] == pytest.approx(115 / 105, rel=1e-15)
    assert numbers["mean_of_batch_means"] == pytest.approx(13 / 11, rel=1e-15)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=40), st.integers(1, 12))
def test_the_bias_of_batch_means_is_the_covariance_of_size_and_loss(losses, size):
    numbers = explain.mean([float(x) for x in losses], batch_size=size).numbers
    batches = [losses[i : i + size] for i in range(0, len(losses), size)]
    means = [Fraction(sum(batch), len(batch)) for batch in batches]
    bias = sum(means) / len(means) - Fraction(sum(losses), len(losses))
    assert numbers["bias"] == pytest.approx(float(bias), abs=1e-12)
    assert numbers["predicted_bias"] == pytest.approx(float(bias), abs=1e-12)


def test_cross_entropy_of_the_example_is_the_one_in_the_books():
    numbers = explain.cross_entropy().numbers
    told = [round(numbers[f"softmax_{c}"], 3) for c in range(3)]
    assert told == [0.659, 0.242, 0.099]
    assert round(numbers["loss"], 3) == 0.417


@given(
    st.lists(st.floats(-20, 20), min_size=2, max_size=6),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.integers(0, 1),
)
def test_cross_entropy_and_its_gradient_are_those_of_torch(logits, smoothing, target):
    numbers = explain.cross_entropy(logits, target, smoothing).numbers
    z = torch.tensor([logits], dtype=torch.float64, requires_grad=True)
    loss = F.cross_entropy(z, torch.tensor([target]), label_smoothing=smoothing)
    loss.backward()
    assert numbers["loss"] == pytest.approx(loss.item(), rel=1e-12, abs=1e-12)
    told = [numbers[f"gradient_{c}"] for c in range(len(logits))]
    assert told == pytest.approx(z.grad[0].tolist(), abs=1e-12)


@pytest.mark.parametrize(("zero", "name"), [(True, "last_loss"), (False, "last_loss_without_zero")])
def test_sgd_takes_the_path_of_torch_with_and_without_zero_grad(zero, name):
    layer = torch.nn.Linear(1, 1, dtype=torch.float64)
    torch.nn.init.zeros_(layer.weight), torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
    x = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    y = 2 * x + 1
    for _ in range(12):
        if zero:
            optimizer.zero_grad()
        F.mse_loss(layer(x), y).backward()
        optimizer.step()
    assert explain.sgd().numbers[name] == pytest.approx(F.mse_loss(layer(x), y).item(), rel=1e-10)


def test_momentum_outside_is_torch_under_a_schedule():
    w = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
    optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [8], gamma=0.1)
    for _ in range(24):
        optimizer.zero_grad()
        (w * w / 2).backward()
        optimizer.step()
        schedule.step()
    numbers = explain.momentum().numbers
    assert numbers["outside"] == pytest.approx(w.item(), rel=1e-12)
    assert abs(numbers["inside"] - w.item()) > 0.1


def test_the_two_momenta_agree_under_a_constant_rate_only():
    numbers = explain.momentum().numbers
    assert numbers["apart_constant"] < 1e-14
    assert numbers["apart_schedule"] > 0.1
    assert explain.momentum(gamma=1.0).numbers["apart_schedule"] < 1e-14


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_sum_or_mean_shows_the_same_path_under_equivalent_settings(optimizer, clip):
    numbers = explain.sum_or_mean(optimizer, 7.0, max_grad_norm=clip).numbers
    assert numbers["kept"] < 1e-12
    if optimizer in ("sgd", "momentum") and clip is None:
        assert numbers["lost"] > 0.1


def test_padding_gives_the_three_units_of_reduce():
    lengths, losses = (3, 1, 2), (1.0, 5.0, 2.0)
    numbers = explain.padding(lengths, losses, batch_size=2).numbers
    matrix = torch.full((3, 3), float("nan"), dtype=torch.float64)
    for row, (n, loss) in enumerate(zip(lengths, losses, strict=True)):
        matrix[row, :n] = loss
    mask = ~matrix.isnan()
    for name, unit in (("element", "element"), ("sample", "sample"), ("sample_sum", "sample-sum")):
        exact = bp.reduce(matrix, mask=mask, unit=unit).item()
        assert numbers[name] == pytest.approx(exact, rel=1e-12)
    # batches (3, 1) and (2): sums 8 and 4, lengths 4 and 2, positions 6 and 2
    assert numbers["mean_of_batch_means"] == pytest.approx((8 / 4 + 4 / 2) / 2)
    assert numbers["padding_counted"] == pytest.approx(12 / 8)


def test_a_short_window_gets_half_its_gradient_when_divided_by_k():
    numbers = explain.accumulation(sizes=(8,) * 10).numbers
    assert [numbers[f"fixed_{i}"] for i in range(3)] == [1.0, 1.0, 0.5]
    assert [numbers[f"exact_{i}"] for i in range(3)] == [1.0, 1.0, 1.0]


def test_uneven_micro_batches_are_weighted_by_their_size():
    numbers = explain.accumulation(sizes=(3, 1), gradients=(1.0, 5.0), accumulate=2).numbers
    assert numbers["exact_0"] == 2.0
    assert numbers["fixed_0"] == 3.0
    assert numbers["mean_of_means_0"] == 3.0


def test_full_equal_windows_are_said_to_be_right():
    assert "dividing by k is right" in explain.accumulation(sizes=(4, 4) * 2, accumulate=2).verdict


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_the_cut_shown_is_that_of_plan(ranks):
    lengths = [3, 30, 4, 29, 7, 8]
    numbers = explain.cut(lengths, batch_size=2, ranks=ranks, charge=5.0).numbers
    planned = plan(lengths, tokens=60, ranks=ranks, cost=Cost(batch=5.0))
    batches = [[lengths[i] for i in batch] for part in planned for batch in part]
    assert numbers["positions_in_order"] == 2 * (30 + 29 + 8)
    assert numbers["positions_cut"] == sum(len(b) * max(b) for b in batches)
    assert numbers["micro_batches_cut"] == len(batches)
    assert numbers["cost_cut"] <= numbers["cost_in_order"]
    assert numbers["padding_cut"] == 1 - sum(lengths) / numbers["positions_cut"]


def test_nine_samples_on_two_ranks_are_those_of_the_distributed_sampler():
    numbers = explain.ranks().numbers
    dealt = [
        list(torch.utils.data.DistributedSampler(range(9), 2, rank, shuffle=False))
        for rank in range(2)
    ]
    means = [sum(rank) / len(rank) for rank in dealt]
    assert numbers["mean"] == 4.0
    assert numbers["rank_0_alone"] == means[0] == 4.0
    assert numbers["last_rank_alone"] == means[1] == 3.2
    assert numbers["duplicated"] == pytest.approx(3.6)


def test_more_ranks_than_samples_is_still_told():
    told = explain.ranks(samples=2, world_size=5)
    assert told.numbers["duplicates"] == 3
    assert math.isnan(told.numbers["dropped"])
    assert "nan" not in told.to_text()


def test_class_weights_are_those_of_torch_and_cancel_one_at_a_time():
    weights, targets = (1.0, 5.0), (0, 0, 1, 0)
    logits = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.5, 0.0], [3.0, 1.0]], dtype=torch.float64)
    y = torch.tensor(targets)
    losses = F.cross_entropy(logits, y, reduction="none")
    numbers = explain.class_weights(weights, targets, losses.tolist(), batch_size=3).numbers
    criterion = torch.nn.CrossEntropyLoss(weight=torch.tensor(weights, dtype=torch.float64))
    cut = (criterion(logits[:3], y[:3]) * 3 + criterion(logits[3:], y[3:])) / 4
    assert numbers["mean"] == pytest.approx(criterion(logits, y).item(), rel=1e-12)
    assert numbers["averaged_batches"] == pytest.approx(cut.item(), rel=1e-12)
    assert numbers["batch_size_1"] == pytest.approx(losses.mean().item(), rel=1e-12)


def test_a_reference_to_the_best_holds_the_last_epoch():
    numbers = explain.best_checkpoint().numbers
    assert numbers["epoch_copy"] == 4
    assert numbers["epoch_reference"] == 6
    assert numbers["epoch_last_batch"] == 6
    assert numbers["epoch_never_updated"] == 6


def test_what_is_given_is_escaped_and_numbers_can_be_written_down():
    told = explain.mean()
    assert "'" not in told.to_html().split("</style>")[1].replace("&#x27;", "")
    assert json.loads(json.dumps(dict(told.numbers)))["mean"] == told.numbers["mean"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mean", {"samples": 5000, "batch_size": 7}),
        ("padding", {"lengths": [3] * 200, "losses": [1.0] * 200}),
        ("accumulation", {"sizes": [4, 3] * 200, "accumulate": 3}),
        ("ranks", {"samples": 5000, "world_size": 300}),
    ],
)
def test_long_data_are_told_on_one_screen_or_two(name, options):
    text = TOPICS[name].explain(**options).to_text()
    assert "more" in text
    assert len(text.splitlines()) < 100


@pytest.mark.parametrize("width", [40, 50, 65])
@pytest.mark.parametrize("name", explain.topics())
def test_nothing_is_cut_off_on_a_narrow_terminal(name, width):
    told = explain.topics()[name].explain().to_text(width)
    assert max(map(len, told.splitlines())) <= width
    assert "…" not in told
