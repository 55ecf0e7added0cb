"""A detached term of the reported loss is named; what is held constant on purpose is a note."""

import pytest
import torch

from batchproof.check import check_step
from batchproof.check._measure._detached import DetachWatch
from check_cases import detached


def check(case):
    run, samples, build = case
    return check_step(run, samples, build=build)


@pytest.mark.parametrize("title", detached.WRONG)
def test_a_term_that_is_detached_as_a_whole_is_named(title):
    report = check(detached.WRONG[title])
    assert report.names == ("gradient-of-another-loss",), str(report)
    (diagnosis,) = report.diagnoses
    assert "A term of the reported loss has no gradient" in diagnosis.sentence
    assert " at detached.py:" in diagnosis.sentence
    assert diagnosis.residual < 1e-4


@pytest.mark.parametrize("title", detached.RIGHT)
def test_what_is_held_constant_on_purpose_is_not_accused(title):
    report = check(detached.RIGHT[title])
    assert report.ok, str(report)


@pytest.mark.parametrize(
    ("title", "place"),
    [
        ("straight through", "detach at detached.py:"),
        ("its own teacher", "no_grad at detached.py:"),
        ("a surrogate, by item", "item at detached.py:"),
    ],
)
def test_a_note_says_where_a_value_is_held_and_what_that_keeps_out(title, place):
    (note,) = [n for n in check(detached.RIGHT[title]).notes if "nor a multiple of it" in n]
    assert place in note
    assert "times the gradient's size out of it (0.bias, 0.weight" in note


@pytest.mark.parametrize("title", ["a largest logit taken off", "a pass of its own"])
def test_what_changes_nothing_is_not_noted(title):
    notes = check(detached.RIGHT[title]).notes
    assert not any("nor a multiple of it" in note for note in notes)


def test_a_watched_run_is_undisturbed_and_leaves_torch_as_it_was():
    model, optimizer = detached.two_layers()
    before = torch.autograd.backward
    watch, (x, y) = DetachWatch(), torch.utils.data.default_collate(detached.PAIRS)
    plain = torch.autograd.grad(detached.error(model, x, y), list(model.parameters()))
    with watch(model):
        loss = detached.error(model, x, y) + detached.squares(model.parameters()).detach()
        loss.backward()
        optimizer.step()
    assert torch.autograd.backward is before
    assert torch.is_grad_enabled()
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), plain, strict=True))
    (one,) = watch.passes
    (kept_out,) = one.kept_out.values()
    own = {name: start * 0.2 for name, start in watch.start.items()}
    assert all(torch.allclose(kept_out[name], gradient) for name, gradient in own.items())
