import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import batchproof as bp
from strategies import cuts


def test_accuracy_is_correct_predictions_over_predictions():
    logits = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    mean = bp.accuracy(logits, torch.tensor([1, 1, 1]))
    assert mean.total.tolist() == [1.0, 0.0, 1.0]
    assert mean.item() == 2 / 3


@given(st.data())
def test_any_cut_pools_to_the_whole(data):
    correct = data.draw(st.lists(st.booleans(), min_size=1, max_size=10))
    parts = data.draw(cuts(len(correct)))
    target = torch.zeros(len(correct), dtype=torch.long)
    logits = torch.tensor([[1.0, 0.0] if right else [0.0, 1.0] for right in correct])
    pooled = sum(bp.accuracy(logits[part], target[part]) for part in parts)
    assert pooled.total == sum(correct)
    assert pooled.weight == len(correct)


@pytest.mark.parametrize(
    ("unit", "value"), [("element", 2 / 3), ("sample", 3 / 4), ("sample-sum", 1.0)]
)
def test_elements_under_the_mask_do_not_count(unit, value):
    target = torch.tensor([[0, 1], [1, -1]])
    logits = torch.zeros(2, 2, 2)
    logits[:, 0] = 1.0
    logits[1, 1] = 2.0
    mask = torch.tensor([[True, True], [True, False]])
    mean = bp.accuracy(logits, target, mask=mask, unit=unit)
    assert mean.item() == pytest.approx(value, rel=1e-15)


def test_weights_count_samples_several_times():
    logits, target = torch.eye(2), torch.tensor([0, 0])
    assert bp.accuracy(logits, target, weight=torch.tensor([3, 1])).item() == 0.75


def test_accuracy_takes_no_gradient():
    logits = torch.eye(2, requires_grad=True)
    assert not bp.accuracy(logits, torch.tensor([0, 1])).total.requires_grad


@pytest.mark.parametrize("shape", [((4,), (4,)), ((4, 1), (4,)), ((4, 1), (4, 1))])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.bool])
def test_a_yes_or_no_is_right_where_its_logit_has_the_sign_of_the_target(shape, dtype):
    logits = torch.tensor([2.0, -1.0, 0.5, -3.0]).reshape(shape[0])
    target = torch.tensor([1, 1, 0, 0]).to(dtype).reshape(shape[1])
    mean = bp.accuracy(logits, target, binary=True)
    assert mean.total.tolist() == [1.0, 0.0, 0.0, 1.0]
    assert mean.item() == 0.5


def test_each_label_of_a_sample_is_a_question_of_its_own():
    logits = torch.tensor([[2.0, -1.0, 1.0], [-1.0, -1.0, 5.0]])
    target = torch.tensor([[1, 0, 0], [0, 1, 1]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    assert bp.accuracy(logits, target, binary=True).item() == 4 / 6
    assert bp.accuracy(logits, target, binary=True, mask=mask).item() == 3 / 5
    assert bp.accuracy(logits, target, binary=True, unit="sample").item() == pytest.approx(2 / 3)


@pytest.mark.parametrize(("logits", "target"), [((4, 1), (4,)), ((4,), (4,)), ((4, 3), (4, 3))])
def test_one_logit_a_question_is_not_taken_for_one_class(logits, target):
    with pytest.raises(
        bp.ShapeError, match="for yes-or-no questions of one logit each, give binary=True"
    ):
        bp.accuracy(torch.zeros(logits), torch.zeros(target, dtype=torch.long))


@pytest.mark.parametrize(("logits", "target"), [((4, 3), (4,)), ((4,), (4, 1)), ((), ())])
def test_scores_of_classes_are_not_taken_for_a_yes_or_no(logits, target):
    with pytest.raises(bp.ShapeError, match="Leave binary out where logits are scores of classes"):
        bp.accuracy(torch.zeros(logits), torch.zeros(target), binary=True)


@pytest.mark.parametrize(("logits", "target"), [((4, 3), (3,)), ((4, 5, 3), (4, 5)), ((4,), (4,))])
def test_shapes_that_disagree_are_refused(logits, target, unchecked):
    with pytest.raises(bp.ShapeError, match="Move the classes to dimension 1; "):
        bp.accuracy(torch.zeros(logits), torch.zeros(target, dtype=torch.long))
