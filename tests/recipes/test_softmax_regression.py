import dataclasses

import pytest
import torch

from batchproof.recipes import Settings, evaluate_run
from batchproof.recipes.softmax_regression import (
    FromScratch,
    Updater,
    concise,
    cross_entropy,
    main,
    softmax,
)
from batchproof.train import RunFolder

SHORT = Settings(epochs=3, batch_size=100, lr=0.5, progress=False)


def test_the_softmax_is_torch_s_also_for_large_logits():
    logits = torch.tensor([[2.0, 1.0, 0.1], [1000.0, 0.0, -1000.0]])
    assert torch.allclose(softmax(logits), logits.softmax(1))


def test_the_cross_entropy_is_a_vector_of_one_loss_an_image():
    logits, labels = torch.randn(7, 5), torch.arange(7) % 5
    found = cross_entropy(softmax(logits), labels)
    wanted = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    assert found.shape == (7,)
    assert torch.allclose(found, wanted, atol=1e-6)


def test_the_updater_divides_summed_gradients_by_the_weight():
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    parameter.grad = torch.tensor([12.0])
    Updater([parameter], lr=0.5)(4.0)
    assert parameter.item() == 1.0 - 0.5 * 12 / 4


def test_both_forms_begin_with_the_same_function():
    scratch = FromScratch(64, 10)
    images = torch.rand(3, 1, 8, 8)
    assert torch.allclose(concise(scratch)(images).softmax(1), scratch(images), atol=1e-7)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "softmax"
    record = {"recipe": "softmax_regression", "settings": {"lr": 0.5}, "options": {}}
    return main(dataclasses.replace(SHORT, out=folder, record=record)), folder


def test_both_forms_have_one_trajectory(trained):
    _, folder = trained
    scratch, plain = (RunFolder(folder / form).records() for form in ("scratch", "concise"))
    scratch = [record for record in scratch if record.name not in ("lr", "grad_norm")]
    plain = [record for record in plain if record.name not in ("lr", "grad_norm")]
    assert len(scratch) == len(plain) == 3 * 4
    for one, other in zip(scratch, plain, strict=True):
        assert (one.name, one.step, one.weight) == (other.name, other.step, other.weight)
        assert abs(one.value - other.value) <= 1e-6


def test_the_last_batch_is_short_so_the_usual_loop_would_print_another_number(trained):
    found = trained[0].estimates["concise test"]
    assert found.samples % SHORT.batch_size
    assert abs(found.mean_of_batch_means - found.value) > 1e-4


def test_both_forms_are_evaluated_from_the_run_folder(trained):
    results, folder = trained
    for run in (folder, folder / "concise"):
        again = evaluate_run(run).estimates
        assert {n: e.value for n, e in again.items()} == pytest.approx(
            {n: e.value for n, e in results.estimates.items()}, rel=1e-6
        )


@pytest.mark.slow
def test_two_epochs_of_mnist_reach_the_numbers_that_are_taught(data):
    settings = Settings(data=data / "mnist", epochs=2, batch_size=256, lr=0.1, progress=False)
    results = main(settings)
    for form in ("scratch", "concise"):
        train, test = results.estimates[f"{form} train"], results.estimates[f"{form} test"]
        assert train.value < 0.5
        assert 0.7 < train.metrics["accuracy"].value < 1
        assert 0.7 < test.metrics["accuracy"].value < 1
