import dataclasses
import math

import pytest
import torch

from batchproof.data import Ragged
from batchproof.mean import pool
from batchproof.recipes import Settings
from batchproof.recipes.char_lm import PADDING, Transformer, generated, loss, main, shifted

SHORT = Settings(epochs=None, max_steps=12, batch_size=32, lr=2e-3, progress=False)


def test_generated_words_are_syllables():
    words = generated(50)
    texts = [words.alphabet.decode(words.test[i]).strip() for i in range(len(words.test))]
    assert all(2 <= len(text) <= 8 and len(text) % 2 == 0 for text in texts)
    assert all(text[1::2].strip("aeiou") == "" for text in texts)


def test_the_target_is_the_next_character_and_padding_is_none():
    symbols, target = shifted((Ragged.of([torch.tensor([0, 5, 7, 0]), torch.tensor([0, 3, 0])]),))
    assert symbols.tolist() == [[0, 5, 7], [0, 3, 0]]
    assert target.tolist() == [[5, 7, 0], [3, 0, PADDING]]


def test_no_character_sees_the_next():
    model = Transformer(9, 6, 8, 1).eval()
    symbols = torch.tensor([[1, 2, 3, 4]])
    before = model(symbols)
    after = model(symbols.index_fill(1, torch.tensor([3]), 8))
    assert torch.allclose(before[:, :3], after[:, :3], atol=1e-6)
    assert not torch.allclose(before[:, 3], after[:, 3], atol=1e-3)


def test_long_names_count_by_their_characters():
    model = Transformer(9, 6, 8, 1)
    long, short = torch.tensor([0, 5, 7, 6, 0]), torch.tensor([0, 3, 0])
    outcome = loss(model, shifted((Ragged.of([long, short]),)))
    assert outcome.terms.weight.tolist() == [4, 2]
    alone = [loss(model, shifted((Ragged.of([text]),))).terms for text in (long, short)]
    assert outcome.terms.item() == pytest.approx(pool(alone).item(), rel=1e-6)


@pytest.fixture(scope="module")
def whole():
    return main(SHORT).estimates["test"]


def test_bits_are_nats_over_log_2_with_their_standard_error(whole):
    bits = whole.metrics["bits_a_character"]
    assert bits.value == pytest.approx(whole.value / math.log(2), rel=1e-6)
    assert bits.standard_error == pytest.approx(whole.standard_error / math.log(2), rel=1e-6)


def test_an_accumulation_window_is_one_batch(whole):
    cut = main(dataclasses.replace(SHORT, batch_size=8, accumulate=4)).estimates["test"]
    assert cut.value == pytest.approx(whole.value, rel=1e-4)


def test_a_budget_of_characters_changes_nothing(whole):
    cut = main(dataclasses.replace(SHORT, batch_size=8, accumulate=4), tokens=60)
    assert cut.estimates["test"].value == pytest.approx(whole.value, rel=1e-4)


def test_bf16_stays_near(whole):
    near = main(dataclasses.replace(SHORT, precision="bf16")).estimates["test"]
    assert near.value == pytest.approx(whole.value, rel=0.03)
    assert near.value != whole.value


def test_generated_words_come_near_their_entropy():
    settings = dataclasses.replace(SHORT, max_steps=None, epochs=1)
    bits = main(settings).estimates["test"].metrics["bits_a_character"]
    # log2(4) for the length and log2(60) a syllable, over 6 characters a word
    assert (2 + 2.5 * math.log2(60)) / 6 < bits.value + 2 * bits.standard_error < 3.0


def test_a_folder_is_read_for_what_it_holds(data):
    tiny = dataclasses.replace(SHORT, max_steps=2, batch_size=128, limit_train_batches=2)
    names = main(dataclasses.replace(tiny, data=data / "names"), width=8, layers=1)
    assert names.estimates["test"].samples == 3204
    text = main(dataclasses.replace(tiny, data=data / "tiny-shakespeare"), width=8, layers=1)
    assert text.estimates["test"].weight == 64 * text.estimates["test"].samples
