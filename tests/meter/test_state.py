"""A meter that is saved and loaded continues to the very same bits."""

import copy
import io
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import batchproof as bp
from batchproof.meter import _meter


def batches(number):
    generator = torch.Generator().manual_seed(3)
    sizes = torch.randint(0, 9, (number,), generator=generator).tolist()
    return [bp.reduce(1e3 * torch.rand(size + 1, generator=generator)) for size in sizes]


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@settings(max_examples=40)
@given(st.integers(0, 60), st.integers(1, 700), st.booleans())
def test_a_loaded_meter_continues_to_the_same_bits(cut, room, grouped):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_meter, "ROOM", room)
        names = ["even", "odd"] if grouped else None
        whole, first, second = (bp.Meter(by=names) for _ in range(3))
        for number, mean in enumerate(batches(60)):
            by = torch.arange(len(mean.total)) % 2 if grouped else None
            whole.add(mean, by=by)
            if number == cut:
                second.load_state_dict(through_a_file(first.state_dict()))
            (first if number < cut else second).add(mean, by=by)
    if cut == 60:
        second.load_state_dict(through_a_file(first.state_dict()))
    assert second.estimate() == whole.estimate()
    assert torch.equal(second.mean().total, whole.mean().total)


def test_the_state_of_an_empty_meter_is_that_of_an_empty_meter():
    meter = bp.Meter()
    meter.add(bp.reduce(torch.ones(2)))
    meter.load_state_dict(bp.Meter().state_dict())
    meter.add(bp.reduce(torch.zeros(2), unit="sample"))
    assert meter.estimate().weight == 2


def test_saving_leaves_the_meter_as_it_is():
    meter = bp.Meter()
    meter.add(bp.reduce(torch.ones(2)))
    state = meter.state_dict()
    meter.add(bp.reduce(torch.zeros(2)))
    assert meter.estimate().value == 0.5
    meter.load_state_dict(state)
    assert meter.estimate().value == 1.0


def test_a_state_with_other_groups_is_refused():
    with pytest.raises(
        bp.CheckpointError, match=r"a meter with groups \['0', '1'\], this one has None"
    ):
        bp.Meter().load_state_dict(bp.Meter(by=2).state_dict())


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_a_copy_holds_the_same_and_continues_alone(copied):
    meter = bp.Meter(by=["a", "b"])
    # the total is made by writing to it, which the copy's tensors were not
    total = torch.zeros(3).add_(torch.tensor([1.0, 2.0, 6.0]))
    meter.add(bp.Mean(total, torch.ones(3)), by=torch.tensor([0, 1, 1]))
    other = copied(meter)
    assert other.estimate() == meter.estimate()
    other.add(bp.Mean(torch.tensor([11.0]), torch.ones(1)), by=torch.tensor([0]))
    assert (other.estimate().value, meter.estimate().value) == (5.0, 3.0)
