"""One notion of a batch: every walker goes into the same kinds of branches."""

from collections import OrderedDict
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch

from batchproof import _trees


@dataclass
class Plain:
    x: Any


@dataclass(frozen=True, slots=True)
class Slots:
    x: Any


class Named(NamedTuple):
    x: Any


KINDS = {
    "dict": lambda x: {"x": x},
    "ordered": lambda x: OrderedDict(x=x),
    "list": lambda x: [x],
    "tuple": lambda x: (x,),
    "named tuple": Named,
    "dataclass": Plain,
    "slots": Slots,
    "nested": lambda x: {"a": [Plain((Named(x), 3))]},
}
kinds = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


@kinds
def test_a_batch_keeps_its_type_where_its_tensors_change(make):
    doubled = _trees.tree_map(lambda tensor: 2 * tensor, make(torch.arange(3)))
    assert type(doubled) is type(make(0))
    assert [leaf.tolist() for leaf in _trees.tensors(doubled)] == [[0, 2, 4]]


def test_a_read_only_mapping_becomes_a_dict():
    doubled = _trees.tree_map(lambda tensor: 2 * tensor, MappingProxyType({"x": torch.arange(3)}))
    assert type(doubled) is dict
    assert doubled["x"].tolist() == [0, 2, 4]


@kinds
def test_the_rows_of_a_batch_are_those_of_its_tensors(make):
    chosen = _trees.rows(make(torch.arange(3)), [2, 0])
    assert _trees.tensors(chosen)[0].tolist() == [2, 0]
    assert _trees.length(chosen) == 2


@kinds
def test_a_sample_that_is_not_finite_is_seen(make):
    values = torch.tensor([[0.0, 1.0], [float("nan"), 0.0]])
    nonfinite = _trees.first_nonfinite(make(values))
    assert nonfinite is not None
    assert nonfinite[0] == 1
    assert _trees.first_nonfinite(make(torch.zeros(2))) is None


@kinds
def test_a_batch_moves_to_a_device(make):
    moved = _trees.to_device(make(torch.zeros(2)), torch.device("meta"))
    assert [leaf.device.type for leaf in _trees.tensors(moved)] == ["meta"]


@kinds
def test_the_digest_is_that_of_the_values(make):
    one, same, other = (_trees.digest(make(torch.tensor([n]))) for n in (1.0, 1.0, 2.0))
    assert one == same
    assert one != other
