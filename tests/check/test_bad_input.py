"""A probe that cannot be run is refused in one line that says what to do."""

import pytest
import torch
from torch import nn

import check_cases as cases
from batchproof import ProbeError
from batchproof.check import check_evaluate, check_step, cut_of
from batchproof.check._measure._determinism import Controls
from batchproof.check._measure._run import Subject
from batchproof.check._measure._runner import Runner

BUILD = cases.Build(cases.MLP)
RUN = cases.exact(cases.of_classes)


def check(run=RUN, samples=None, **settings):
    settings = {"build": BUILD, **settings}
    samples = cases.vectors() if samples is None else samples
    return check_step(run, samples, **settings)


def refused(match, **settings):
    with pytest.raises(ProbeError, match=match) as caught:
        check(**settings)
    assert "\n" not in str(caught.value)


def no_step(model, optimizer, batches):
    cases.of_classes(model, batches[0])[0].backward()


def no_gradient(model, optimizer, batches):
    optimizer.step()


def two_steps(model, optimizer, batches):
    for batch in batches:
        cases.of_classes(model, batch)[0].backward()
        optimizer.step()


def no_number(model, optimizer, batches):
    RUN(model, optimizer, batches)
    return "low"


def out_of_memory(model, optimizer, batches):
    raise torch.OutOfMemoryError("tried to allocate 20 GiB")


def wants_two(model, optimizer, batches):
    if len(batches) > 2:
        raise IndexError("list index out of range")
    return RUN(model, optimizer, batches)


def test_a_step_that_does_not_step_is_refused():
    refused("0 optimiser steps under cut 'whole'.*end with optimizer.step()", run=no_step)


def test_a_step_without_a_gradient_is_refused():
    refused("expected 1 with a gradient", run=no_gradient)


def test_a_run_of_several_steps_is_refused_and_told_of_window():
    refused(
        "2 optimiser steps over 2 micro-batches.*out of the loop.*pass window=k",
        run=two_steps,
        cuts="halves",
    )


def test_a_reported_loss_that_is_no_number_is_refused():
    refused("run returned str; expected the loss that it reports", run=no_number)


def test_running_out_of_memory_is_said():
    refused("out of memory under cut 'whole'; give fewer", run=out_of_memory)


def test_an_error_of_the_step_names_the_cut():
    refused(r"under cut 'one-by-one' \(7 x 1\): IndexError", run=wants_two)


def test_a_build_that_differs_each_time_is_refused():
    drawn = torch.Generator()
    drawn.seed()

    def build():
        model = nn.Linear(4, 3)
        with torch.no_grad():
            model.weight.normal_(generator=drawn)
        return model, torch.optim.SGD(model.parameters())

    refused("gives other parameters each time", build=build)


def test_a_model_that_build_does_not_make_anew_is_refused():
    model = cases.MLP()
    refused(
        "gives other parameters each time.*make the model in it",
        build=lambda: (model, torch.optim.SGD(model.parameters(), lr=0.1)),
    )


def test_tensors_of_two_types_are_told_of_dtype():
    def beside_a_model_of_its_own(model, optimizer, batches):
        cases.MLP()(batches[0][0]).sum().backward()

    refused(
        "computes in torch.float64: make tensors of.*dtype=torch.float32",
        run=beside_a_model_of_its_own,
    )


def test_class_weights_in_float32_are_checked_in_float32_and_that_is_said():
    weight = torch.tensor([0.2, 1.0, 3.0])

    def run(model, optimizer, batches):
        optimizer.zero_grad()
        for x, y in batches:
            (nn.functional.cross_entropy(model(x), y, weight) / len(batches)).backward()
        optimizer.step()

    report = check(run)
    assert report.names == ("weight-per-micro-batch",), str(report)
    assert report.tolerance == 2e-5
    assert report.notes[0].startswith("computed in torch.float32")


def test_a_cut_of_more_than_one_window_is_refused():
    five = {"five": [[0, 1], [2, 3], [4], [5], [6]]}
    refused("cut 'five' has 5 micro-batches and window is 2", window=2, cuts=five)


def test_an_error_while_something_is_held_still_leaves_nothing_held():
    def run(model, optimizer, batches):
        if len(batches) == 1 and len(batches[0][1]) == 1:
            raise ValueError("too small")
        cases.averaged(cases.of_classes, clip=0.05, reported="none")(model, optimizer, batches)

    subject = Subject(
        run, BUILD, tuple(cases.vectors()), torch.utils.data.default_collate, torch.float64
    )
    runner = Runner(subject, 7)
    unclipped = runner.under(Controls(clip=True))
    with pytest.raises(ProbeError, match="too small"):
        unclipped.observe(unclipped.piece(0))
    assert runner.controls == Controls()
    assert unclipped.record is runner.record


def test_a_build_that_fails_or_gives_no_model_is_refused():
    refused(r"build\(\) failed: ZeroDivisionError", build=lambda: 1 // 0)
    refused("returned int; expected", build=lambda: 3)


def test_samples_that_cannot_be_collated_are_named():
    ragged = [torch.ones(2), torch.ones(3), torch.ones(2)]
    refused(r"samples \[0, 1, 2\] cannot be collated.*collate=", samples=ragged)


def test_too_few_samples_are_refused():
    refused("1 samples cannot be cut", samples=cases.vectors(1))


def test_unknown_cuts_are_refused_with_those_there_are():
    refused("unknown cut 'thirds'; there are: standard, whole", cuts="thirds")
    refused("cut 'padded' does not apply", cuts=["padded"])


def test_a_cut_that_loses_samples_is_refused():
    refused(
        r"holds samples \[0, 1\]; it must hold each of 0 to 6 once", cuts=[cut_of("x", [[0, 1]])]
    )


def test_settings_that_cannot_be_meant_are_refused():
    refused("window is 0", window=0)
    refused("timeout is 0", timeout=0.0)
    refused("ranks is", ranks=(0,))
    refused(r"ranks is \(1, 9\) and there are 7 samples; give no more", ranks=(1, 9))
    refused("dtype is torch.int64", dtype=torch.int64)


def test_an_uncut_step_that_is_not_finite_is_refused():
    def run(model, optimizer, batches):
        (cases.of_classes(model, batches[0])[0] * float("nan")).backward()
        optimizer.step()

    refused("the uncut step gives NaN", run=run)


def test_an_evaluation_that_gives_nothing_is_refused():
    with pytest.raises(ProbeError, match="run returned None; expected the number"):
        check_evaluate(lambda model, batches: None, cases.vectors(), build=BUILD)


def test_nothing_of_torch_stays_patched_after_an_error():
    from torch.nn.utils import clip_grad

    before = clip_grad._clip_grads_with_norm_, nn.functional.dropout
    refused("0 optimiser steps", run=no_step)
    assert (clip_grad._clip_grads_with_norm_, nn.functional.dropout) == before
