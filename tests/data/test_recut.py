"""A window recut: the same samples, no padding trimmed that counts, and the same gradient."""

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

import batchproof as bp
from batchproof import DataError, SettingError
from batchproof.data import recut

SIDES = st.sampled_from(["right", "left"])
WINDOWS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=4)


def collated(sizes: list[int], side: str = "right", *, start: int = 1) -> dict[str, torch.Tensor]:
    """A batch as transformers' collators make it; each id occurs once."""
    ids, at = [], start
    for size in sizes:
        ids.append(torch.arange(at, at + size))
        at += size
    padded = pad_sequence(ids, batch_first=True, padding_side=side)
    mask = (padded > 0).long()
    return {
        "input_ids": padded,
        "attention_mask": mask,
        "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
        "labels": torch.where(padded > 0, padded % 7, -100),
        "weight": torch.arange(start, start + len(sizes)).double(),
    }


def window_of(sizes: list[list[int]], side: str = "right") -> list[dict[str, torch.Tensor]]:
    starts = [1 + sum(map(sum, sizes[:i])) for i in range(len(sizes))]
    return [collated(s, side, start=b) for s, b in zip(sizes, starts, strict=True)]


def samples_of(batches) -> list[tuple]:
    """Every sample without its padding, whatever batch it is in."""
    rows = []
    for batch in batches:
        for i in range(len(batch["input_ids"])):
            kept = batch["attention_mask"][i] != 0
            columns = ("input_ids", "position_ids", "labels")
            rows.append((*(tuple(batch[c][i][kept].tolist()) for c in columns),))
            assert batch["labels"][i][~kept].eq(-100).all()
            rows[-1] += (batch["weight"][i].item(),)
    return sorted(rows)


@given(WINDOWS, SIDES, st.none() | st.integers(1, 40))
def test_every_sample_is_there_once_and_whole(sizes, side, tokens):
    window = window_of(sizes, side)
    cut = recut(window, tokens=tokens)
    assert samples_of(cut) == samples_of(window)
    for batch in cut:
        rows, width = batch["input_ids"].shape
        assert batch["attention_mask"].any(0).all()
        assert tokens is None or rows * width <= tokens or rows == 1


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(200, 4, dtype=torch.float64)
        self.out = nn.Linear(4, 7, dtype=torch.float64)

    def forward(self, batch):
        return self.out(self.embed(batch["input_ids"]))


def loss(model, batch):
    losses = F.cross_entropy(model(batch).transpose(1, 2), batch["labels"], reduction="none")
    return bp.reduce(losses, mask=batch["labels"] != -100)


@given(WINDOWS, SIDES, st.integers(1, 30))
def test_the_gradient_of_the_window_is_the_same(sizes, side, tokens):
    window = window_of(sizes, side)
    weights = []
    for batches in (window, recut(window, tokens=tokens)):
        model = Model()
        bp.Step(model, torch.optim.SGD(model.parameters(), lr=1.0))(batches, loss)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-12, atol=1e-12)


def padded(sizes: list[int], features: int = 0, value: float = 0.0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(sum(sizes))
    shape = [(size, features) if features else (size,) for size in sizes]
    parts = [torch.rand(s, generator=draw) + 1 for s in shape]
    return pad_sequence(parts, batch_first=True, padding_value=value)


def test_tuples_with_a_boolean_mask_are_trimmed():
    x = padded([3, 1, 5], features=2)
    mask = torch.arange(5)[None] < torch.tensor([3, 1, 5])[:, None]
    cut = recut([(x, mask, torch.tensor([0, 1, 2]))], tokens=6)
    assert [tuple(batch[0].shape) for batch in cut] == [(2, 3, 2), (1, 5, 2)]
    assert [batch[2].tolist() for batch in cut] == [[0, 1], [2]]
    assert all(isinstance(batch, tuple) for batch in cut)


def test_named_tuples_and_dataclasses_keep_their_type():
    class Pair(NamedTuple):
        x: torch.Tensor
        lengths: torch.Tensor

    @dataclass
    class Both:
        x: torch.Tensor
        lengths: torch.Tensor

    for kind in (Pair, Both):
        cut = recut([kind(padded([2, 4]), torch.tensor([2, 4]))], tokens=4)
        assert [type(batch) for batch in cut] == [kind, kind]
        assert [batch.x.shape[1] for batch in cut] == [4, 2]


def test_a_column_of_lengths_is_read_and_held_against_the_padding():
    batch = {"x": padded([2, 4], features=3), "lengths": torch.tensor([2, 4])}
    assert [b["x"].shape[1] for b in recut([batch], tokens=4)] == [4, 2]
    batch["lengths"] = torch.tensor([1, 4])
    with pytest.raises(DataError, match="behind the lengths of lengths hold more than one value"):
        recut([batch], tokens=4)


def test_labels_that_are_ignored_prove_padding_only_where_the_rest_is_constant():
    ids = torch.tensor([[5, 6, 7, 8], [9, 4, 0, 0]])
    labels = torch.tensor([[-100, 6, 7, 8], [-100, 4, -100, -100]])
    cut = recut([{"input_ids": ids, "labels": labels}], tokens=4)
    assert [b["input_ids"].tolist() for b in cut] == [[[5, 6, 7, 8]], [[9, 4]]]
    prompt = {"input_ids": torch.tensor([[5, 6, 7], [9, 4, 3]]), "labels": torch.full((2, 3), -100)}
    with pytest.raises(DataError, match="may not be padding"):
        recut([prompt], tokens=4)


def test_a_masked_sample_keeps_one_position():
    batch = {"x": padded([2, 4]), "mask": torch.tensor([[False] * 4, [True] * 4])}
    batch["x"][0] = 0.0
    assert [b["x"].shape for b in recut([batch], tokens=4)] == [(1, 4), (1, 1)]


def test_lists_beside_tensors_go_with_their_samples():
    batch = {"x": padded([1, 3]), "lengths": torch.tensor([1, 3]), "name": ["a", "b"], "k": 2}
    assert [(b["name"], b["k"]) for b in recut([batch], tokens=3)] == [(["b"], 2), (["a"], 2)]


def test_rows_in_order_are_views_where_nothing_is_trimmed():
    batch = {"x": padded([4, 4, 2, 2]), "lengths": torch.tensor([4, 4, 2, 2])}
    first, second = recut([batch], tokens=8)
    storage = batch["x"].untyped_storage().data_ptr()
    assert first["x"].untyped_storage().data_ptr() == storage
    assert all(column.is_contiguous() for batch in (first, second) for column in batch.values())


def test_lengths_can_be_handed_in():
    x = padded([2, 5], value=-1.0)
    cut = recut([x], tokens=5, lengths=lambda batch: (batch != -1).sum(1))
    assert [b.shape for b in cut] == [(1, 5), (1, 2)]


def test_nothing_is_made_of_nothing():
    assert recut([], tokens=4) == []


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ([torch.rand(2, 3)], "nothing in the batch says where its padding is"),
        ([(torch.rand(2, 3), torch.rand(4))], r"lengths \[2, 4\]; expected one row per sample"),
        ([{"x": torch.rand(3), "cu_seqlens": torch.tensor([0, 1, 3])}], "packed already"),
        (
            [{"lengths": torch.tensor([1]), "x": torch.rand(1, 2)}, {"y": torch.rand(1, 2)}],
            "batch 1 of the window has the columns",
        ),
        (
            [{"lengths": torch.tensor([5]), "x": torch.rand(1, 2)}],
            "a sample has 5 positions, but the tensors have",
        ),
        (
            [
                {"x": torch.rand(1, 2), "lengths": torch.tensor([2]), "k": 1},
                {"x": torch.rand(1, 2), "lengths": torch.tensor([2]), "k": 2},
            ],
            "k is 2 in batch 1 of the window and 1 in batch 0",
        ),
        ([[{"x": torch.rand(1, 2)}, {"x": torch.rand(1, 3)}]], "the batch is a list of 2 dicts"),
        (
            [
                {
                    "input_ids": torch.tensor([[1, 2, 3], [4, 0, 0]]),
                    "labels": torch.tensor([[1, 2, 3], [4, -100, -100]]),
                    "attention_mask": torch.tensor([[[[1, 1, 1]]], [[[1, 0, 0]]]]),
                }
            ],
            r"attention_mask has shape \(2, 1, 1, 3\), whose further dimensions may be positions",
        ),
        (
            [{"x": torch.ones(2, 3, 3).tril(-1), "mask": torch.tensor([[True] * 2 + [False]] * 2)}],
            "further dimensions may be positions",
        ),
        (
            [{"x": torch.rand(2, 3), "mask": torch.tensor([[True, False, False], [True] * 3])}],
            "x holds more than one value in positions that are padding",
        ),
    ],
)
def test_a_batch_that_is_not_understood_is_refused(window, words):
    with pytest.raises(DataError, match=words):
        recut(window, tokens=4)


def test_labels_that_count_under_the_mask_are_no_padding():
    batch = collated([1, 3])
    batch["labels"] = batch["input_ids"].clone()
    with pytest.raises(DataError, match="labels has 2 labels where attention_mask is 0"):
        recut([batch], tokens=4)


def test_settings_are_refused_before_a_batch_is_read(unchecked):
    with pytest.raises(SettingError, match="lengths is a str; expected a function"):
        recut([None], tokens=4, lengths="n")
    with pytest.raises(SettingError, match="tokens is 0; expected a whole number"):
        recut([None], tokens=0)


def test_two_sides_in_one_window_are_refused():
    with pytest.raises(DataError, match="padded on the left and on the right"):
        recut([collated([1, 3]), collated([2, 3], "left", start=50)], tokens=4)


class Graphs:
    """A batch as PyG's Batch is one: an object, and no branch."""


def ids(sizes: list[int]) -> torch.Tensor:
    return pad_sequence([torch.arange(1, n + 1) for n in sizes], batch_first=True)


def preference() -> dict[str, torch.Tensor]:
    chosen, rejected = ids([2, 6, 1]), ids([5, 1, 2])
    pairs = {"chosen": chosen, "rejected": rejected}
    masks = {f"{name}_attention_mask": (rows > 0).long() for name, rows in pairs.items()}
    return {**{f"{name}_input_ids": rows for name, rows in pairs.items()}, **masks}


def test_pairs_of_sequences_are_trimmed_each_to_their_longest():
    cut = recut([preference()], tokens=10)
    assert [b["chosen_input_ids"].shape for b in cut] == [(2, 2), (1, 6)]
    for batch in cut:
        for name in ("chosen", "rejected"):
            rows, mask = batch[f"{name}_input_ids"], batch[f"{name}_attention_mask"]
            assert mask.any(0).all()
            assert rows.numel() <= 10
            assert torch.equal(rows > 0, mask > 0)


def test_labels_of_their_own_length_stay_with_speech():
    labels = pad_sequence([torch.tensor([4]), torch.tensor([5, 6, 7])], True, -100)
    speech = {"input_values": ids([9, 4]).float(), "attention_mask": (ids([9, 4]) > 0).long()}
    cut = recut([{**speech, "labels": labels}], tokens=9)
    assert [b["labels"].tolist() for b in cut] == [[[4]], [[5, 6, 7]]]
    assert [b["input_values"].shape for b in cut] == [(1, 9), (1, 4)]


def test_further_features_of_as_many_as_there_are_positions_are_no_positions():
    x = torch.rand(2, 3, 3)
    x[1, 1:] = -1.0
    batch = {"x": x, "mask": ids([3, 1]) > 0}
    assert [b["x"].shape for b in recut([batch], tokens=3)] == [(1, 3, 3), (1, 1, 3)]


LAYOUTS = {
    "torchaudio": {"waveforms": torch.rand(2, 1, 9), "lengths": torch.tensor([9, 5])},
    "PyG": Graphs(),
    "detection": ([torch.rand(3, 8, 8), torch.rand(3, 6, 9)], [{"boxes": torch.rand(2, 4)}] * 2),
    "multiple choice": {"input_ids": torch.ones(2, 4, 5), "attention_mask": torch.ones(2, 4, 5)},
    "images": (torch.rand(2, 3, 8, 8), torch.tensor([0, 1])),
    "DETR": {"pixel_values": torch.rand(2, 3, 8, 8), "pixel_mask": torch.ones(2, 8, 8)},
    "patches of images": {"input_ids": ids([3, 5]), "pixel_values": torch.rand(9, 12)},
    "a mask of pairs": {"input_ids": ids([3, 5]), "attention_mask": torch.ones(2, 1, 5, 5)},
    "an inverted mask": {"x": padded([2, 4]), "mask": ids([2, 4]) == 0},
    "lengths that disagree": {
        "input_ids": ids([2, 2]).fill_(7),
        "attention_mask": torch.ones(2, 2).long(),
        "lengths": torch.tensor([1, 1]),
    },
    "numbers": {"attention_mask": 3, "loss": 0.5},
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_other_libraries_are_refused(name):
    batch = LAYOUTS[name]
    lengths = (lambda batch: batch["lengths"]) if name == "lengths that disagree" else None
    with pytest.raises(DataError, match=r"expected|nothing in the batch says|holds? more than one"):
        recut([batch], tokens=4, lengths=lengths)


def preferences(*prompts, answers=2):
    """Rows as preference data is laid: chosen answers, then rejected ones, to the same prompts."""
    rows = [torch.tensor([*prompt, *[40 + i] * answers]) for i in (0, 1) for prompt in prompts]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    sizes = torch.tensor([len(prompt) for _ in (0, 1) for prompt in prompts])
    places, mask = torch.arange(ids.shape[1])[None], (ids > 0).long()
    completion = (places >= sizes[:, None]).long() * mask
    return {"input_ids": ids, "attention_mask": mask, "completion_mask": completion}


@pytest.mark.parametrize("prompts", [([1, 2],), ([1, 2], [3, 4, 5]), ([1], [1])])
def test_pairs_in_two_halves_are_refused(prompts):
    batch = preferences(*prompts)
    with pytest.raises(DataError, match=f"rows 0 and {len(prompts)} of the batch answer one"):
        recut([batch], tokens=20)
    step = bp.Step(
        model := torch.nn.Linear(1, 1),
        torch.optim.SGD(model.parameters(), lr=0.1),
        out_of_memory="split",
    )
    with pytest.raises(DataError, match="Collate a pair as one row"):
        step([batch], lambda model, batch: bp.reduce(model(torch.ones(1, 1))))


def test_pairs_in_one_row_and_answers_to_different_prompts_are_recut():
    stacked = preferences([1, 2], [3, 4, 5, 6, 7, 8])
    pairs = {
        f"{side}_{name}": column[at : at + 2]
        for side, at in (("chosen", 0), ("rejected", 2))
        for name, column in stacked.items()
    }
    cut = recut([pairs], tokens=8)
    assert [batch["chosen_input_ids"].shape for batch in cut] == [(1, 8), (1, 4)]
    for batch in cut:
        asked = batch["chosen_completion_mask"] == 0
        assert torch.equal(batch["chosen_input_ids"][asked], batch["rejected_input_ids"][asked])
    apart = {name: column[[0, 3]] for name, column in stacked.items()}
    assert len(recut([apart], tokens=8)) == 2
