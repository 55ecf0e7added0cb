"""Micro-batches packed in one row: the same samples, the same unit, and the same gradient."""

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

WINDOWS = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), min_size=1, max_size=4)
SIDES = st.sampled_from(["right", "left"])


def collated(sizes, side="right", start=1):
    ids = [torch.arange(size) * 3 + start + i for i, size in enumerate(sizes)]
    padded = pad_sequence(ids, batch_first=True, padding_side=side)
    mask = pad_sequence([torch.ones(n) for n in sizes], batch_first=True, padding_side=side).long()
    labels = torch.where(mask > 0, padded % 7, -100)
    return {
        "input_ids": padded,
        "attention_mask": mask,
        "labels": labels,
        "kind": torch.tensor(sizes),
    }


class Attention(nn.Module):
    """A transformer block that sees a sequence's own positions, padded or packed."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(60, 8, dtype=torch.float64)
        self.place = nn.Embedding(40, 8, dtype=torch.float64)
        self.attend = nn.Linear(8, 24, dtype=torch.float64)
        self.out = nn.Linear(8, 7, dtype=torch.float64)

    def forward(self, batch):
        ids = batch["input_ids"]
        if "segments" in batch:
            own, places = batch["segments"], batch["position_ids"]
        else:
            own = torch.where(batch["attention_mask"] > 0, 0, -1)
            places = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
        hidden = self.embed(ids) + self.place(places)
        seen = own[:, :, None] == own[:, None, :]
        query, key, value = self.attend(hidden).chunk(3, -1)
        return self.out(hidden + F.scaled_dot_product_attention(query, key, value, attn_mask=seen))


def loss_of(unit):
    def loss(model, batch):
        labels = batch["labels"]
        losses = F.cross_entropy(model(batch).transpose(1, 2), labels, reduction="none")
        if "segments" not in batch:
            return bp.reduce(losses, unit=unit, mask=labels != -100)
        ignored = batch["segments"].where(labels != -100, -1)
        samples = len(batch["kind"])
        return bp.reduce(losses, unit=unit, segments=ignored, num_segments=samples)

    return loss


def stepped(batches, unit):
    model = Attention()
    result = bp.Step(model, torch.optim.SGD(model.parameters(), lr=1.0))(batches, loss_of(unit))
    return torch.cat([p.detach().flatten() for p in model.parameters()]), result.loss.item()


@given(WINDOWS, SIDES, st.none() | st.integers(1, 40), st.sampled_from(["element", "sample"]))
def test_the_gradient_is_that_of_the_padded_window(sizes, side, tokens, unit):
    window = [collated(s, side, start) for start, s in enumerate(sizes, start=1)]
    cut = recut(window, tokens=tokens, pack=True)
    assert sum(batch["input_ids"].numel() for batch in cut) == sum(map(sum, sizes))
    for batch in cut:
        rows = batch["input_ids"]
        assert rows.shape[0] == 1
        assert tokens is None or rows.shape[1] <= tokens or len(batch["kind"]) == 1
        assert batch["cu_seqlens"].diff().tolist() == batch["kind"].tolist()
        assert torch.equal(batch["segments"][0].bincount(), batch["kind"])
        assert torch.equal(
            (batch["position_ids"][0] == 0).nonzero()[:, 0].int(), batch["cu_seqlens"][:-1]
        )
    (weights, value), (expected, whole) = stepped(cut, unit), stepped(window, unit)
    torch.testing.assert_close(weights, expected, rtol=1e-12, atol=1e-12)
    assert value == pytest.approx(whole, rel=1e-12)


def test_check_finds_the_packed_step_equal_to_the_padded_one():
    samples = [collated([size], start=size) for size in (3, 7, 2, 5, 9, 4)]

    def collate(chosen):
        rows = {k: [sample[k][0] for sample in chosen] for k in chosen[0]}
        fills = {"input_ids": 0, "attention_mask": 0, "labels": -100}
        padded = {
            name: pad_sequence(rows[name], batch_first=True, padding_value=fill)
            for name, fill in fills.items()
        }
        return {**padded, "kind": torch.stack(rows["kind"])}

    def build():
        model = Attention()
        return model, torch.optim.SGD(model.parameters(), lr=0.1)

    def run(model, optimizer, micro_batches):
        # whole it is padded, under every cut it is packed
        if len(micro_batches) > 1:
            micro_batches = recut(micro_batches, tokens=12, pack=True)
        return bp.Step(model, optimizer)(micro_batches, loss_of("element")).loss.item()

    bp.check_step(run, samples, build=build, collate=collate).raise_if_failed()


def test_fields_named_segments_take_the_samples_where_there_are_no_keys():
    from batchproof.data import Ragged
    from batchproof.recipes.sequence_regression import Rows, packed, padded

    ragged = Ragged.of([torch.randn(n, 3) for n in (4, 1, 6)])
    targets = Ragged.of([torch.randn(n, 1) for n in (4, 1, 6)])
    kinds = torch.tensor([0, 1, 1])
    (row,) = recut([padded((ragged, targets, kinds))], pack=True)
    expected = packed((ragged, targets, kinds))
    assert isinstance(row, Rows)
    for one, other in zip(row, expected, strict=True):
        assert torch.equal(one, other)


def shifting(start):
    batch = collated([4, 6], start=start)
    return {**batch, "labels": batch["input_ids"].where(batch["attention_mask"] > 0, -100)}


def test_labels_that_a_loss_shifts_stay_within_their_sample():
    (row,) = recut([shifting(5)], pack="shifted")
    assert row["labels"].tolist() == [[-100, 8, 11, 14, -100, 9, 12, 15, 18, 21]]
    with pytest.raises(DataError, match=r'first counts in 2 samples.*pack="shifted"'):
        recut([shifting(5)], pack=True)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool)), "a tuple without a field named"),
        (
            {**collated([2, 3]), "decoder_input_ids": torch.ones(2, 4).long()},
            "positions of several kinds",
        ),
    ],
)
def test_what_cannot_be_packed_is_refused(batch, words):
    with pytest.raises(DataError, match=words):
        recut([batch], pack=True)


def test_a_budget_is_needed_in_a_loop():
    with pytest.raises(SettingError, match="pack was given without tokens; give the budget"):
        bp.windows([1], pack=True)
