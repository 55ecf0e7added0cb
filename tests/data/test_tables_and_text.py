"""Sequences, text and the weighted table, from their published files and from small ones."""

import pytest
import torch

import batchproof as bp
from batchproof.data import (
    Alphabet,
    _adult,
    _vowels,
    check_finite,
    check_labels,
    cut_windows,
    generate_sequences,
    load_adult,
    load_japanese_vowels,
    load_names,
    load_text,
    load_tiny_shakespeare,
    text_of,
    words_of,
)
from batchproof.data._files import md5


def test_japanese_vowels_is_read_whole(data):
    found = load_japanese_vowels(data)
    assert (len(found.train), len(found.test), found.kinds) == (270, 370, 9)
    assert found.train.kinds.bincount().tolist() == [30] * 9
    lengths = torch.cat([found.train.inputs.lengths, found.test.inputs.lengths])
    # the published 7 to 29, less the element that is only a target
    assert (lengths.min(), lengths.max()) == (6, 28)
    assert found.train.inputs.values.shape[1] == 12
    assert load_japanese_vowels(data / "japanese-vowels").name == "Japanese Vowels"


@pytest.mark.parametrize("real", [False, True])
def test_the_target_is_the_first_channel_one_step_later(request, real):
    if real:
        found = load_japanese_vowels(request.getfixturevalue("data")).train
    else:
        found = generate_sequences(20, 5).train
    assert torch.equal(found.inputs.lengths, found.targets.lengths)
    for number in range(3):
        inputs, targets = found.inputs[number], found.targets[number]
        assert torch.equal(inputs[1:, :1], targets[:-1])


def test_generated_sequences_are_the_same_each_time():
    torch.manual_seed(1)
    first = generate_sequences(30, 10, kinds=3, channels=2, seed=4)
    torch.manual_seed(2)
    again = generate_sequences(30, 10, kinds=3, channels=2, seed=4)
    other = generate_sequences(30, 10, kinds=3, channels=2, seed=5)
    assert torch.equal(first.train.inputs.values, again.train.inputs.values)
    assert not torch.equal(first.train.kinds, other.train.kinds)
    assert first.train.inputs.values.shape[1] == 2
    assert first.train.kinds.max() == 2
    assert len(set(first.train.inputs.lengths.tolist())) > 5


def vowels(folder, train):
    """Write small files and return their digests."""
    test = "@data\n1.0,2.0:3.0,4.0:1\n"
    (folder / _vowels.TRAIN).write_text(train)
    (folder / _vowels.TEST).write_text(test)
    return {_vowels.TRAIN: md5(train.encode()), _vowels.TEST: md5(test.encode())}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1.0,x:3.0,4.0:1", "has a line that is not a sequence"),
        ("1.0,2.0:3.0,4.0:one", "has a line that is not a sequence"),
        ("1.0,2.0:3.0:1", "has a line that is not a sequence"),
        ("1.0,2.0:1", "has a line that is not a sequence .sequence 1 has shape"),
        ("1.0,2.0:3.0,4.0:10", "sample 1 has label 9; expected 0 to 8"),
        ("1.0,nan:3.0,4.0:2", "sample 1 has nan; expected finite numbers"),
    ],
)
def test_a_line_that_is_no_sequence_is_refused(tmp_path, monkeypatch, line, message):
    digests = vowels(tmp_path, f"#\n@data\n1.0,2.0,3.0:3.0,4.0,5.0:1\n{line}\n")
    monkeypatch.setattr(_vowels, "DIGESTS", digests)
    with pytest.raises(bp.DataError, match=message):
        load_japanese_vowels(tmp_path)


def test_an_altered_text_file_is_recognised(tmp_path):
    (tmp_path / "names.txt").write_text("emma\nolivia\n")
    with pytest.raises(
        bp.DataError, match=r"names.txt has md5 .* expected 401b3c4cac9e28a586ed15e"
    ):
        load_names(tmp_path)
    with pytest.raises(bp.DataError, match=r"input.txt is not in .*: missing input.txt; looked in"):
        load_tiny_shakespeare(tmp_path)


def test_names_are_read_whole(data):
    names = load_names(data)
    assert len(names.train) + len(names.test) == 32033
    assert len(names.alphabet) == 27
    assert names.alphabet.decode(names.test[0]) == "\nemma\n"
    assert names.alphabet.decode(names.train[0]) == "\nolivia\n"
    lengths = torch.cat([names.train.lengths, names.test.lengths]) - 2
    assert (lengths.min(), lengths.max()) == (2, 15)


def test_tiny_shakespeare_is_read_whole(data):
    text = load_tiny_shakespeare(data)
    assert len(text.train) + len(text.test) == 1115394
    assert len(text.alphabet) == 65
    assert text.alphabet.decode(text.train[:14]) == "First Citizen:"


def test_words_and_texts_hold_a_tenth_out():
    words = words_of([f"w{chr(97 + i)}" for i in range(20)])
    assert (len(words.train), len(words.test)) == (18, 2)
    text = text_of("abcdefghijklmnopqrst")
    assert text.alphabet.decode(text.train) + text.alphabet.decode(text.test) == (
        "abcdefghijklmnopqrst"
    )
    assert len(text.test) == 2
    with pytest.raises(bp.DataError, match="there are 1 words; expected 2 or more"):
        words_of(["a"])
    with pytest.raises(bp.DataError, match="the text has 0 characters"):
        text_of("")


def test_a_character_outside_the_alphabet_is_named():
    with pytest.raises(bp.DataError, match="character 'z' at 2 is not in the alphabet 'abc'"):
        Alphabet("abc").encode("abz")


def test_each_character_but_the_first_is_a_target_once():
    samples = cut_windows(torch.arange(11), 3)
    assert samples[:, 1:].flatten().tolist() == list(range(1, 10))
    with pytest.raises(bp.DataError, match=r"has 3 characters, too few for samples of 3 \+ 1"):
        cut_windows(torch.arange(3), 3)


def test_adult_is_read_whole(data):
    adult = load_adult(data)
    assert (len(adult.train), len(adult.test)) == (32561, 16281)
    assert (adult.train.labels.sum(), adult.test.labels.sum()) == (7841, 3846)
    assert adult.train.numbers[0].tolist() == [39, 13, 2174, 0, 40]
    assert adult.train.weight[:2].tolist() == [77516, 83311]
    assert adult.categories["sex"] == ("Female", "Male")
    first = [
        values[code]
        for values, code in zip(adult.categories.values(), adult.train.codes[0], strict=True)
    ]
    assert first == [
        *("State-gov", "Bachelors", "Never-married", "Adm-clerical"),
        *("Not-in-family", "White", "Male", "United-States"),
    ]
    assert adult.group(adult.train, "sex").bincount().tolist() == [10771, 21790]
    with pytest.raises(bp.DataError, match="'age' is not a category; expected one of workclass"):
        adult.group(adult.train, "age")


def test_features_of_adult_are_standardised_by_the_training_rows(data):
    adult = load_adult(data)
    features = adult.features(adult.train)
    assert features.shape == (32561, 5 + sum(map(len, adult.categories.values())))
    assert (features[:, 5:].sum(1) == 8).all()
    share = adult.train.weight / adult.train.weight.sum()
    numbers = features[:, :5].double()
    assert (share @ numbers).abs().max() < 1e-5
    assert (share @ numbers.square() - 1).abs().max() < 1e-5
    assert adult.features(adult.test).shape[1] == features.shape[1]


ROW = "39, Private, 7, HS-grad, 9, Divorced, Sales, Wife, White, Female, 0, 0, 40, Cuba, <=50K"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("39, Private, 7", "has 3 columns in sample 1, expected 15"),
        (ROW.replace("<=50K", "maybe"), "has label 'maybe' in sample 1, expected one of"),
        (ROW.replace("39,", "old,"), "has 'old' for age in sample 1, expected a number"),
        (ROW.replace("39,", "nan,"), "has 'nan' for age in sample 1, expected a number"),
        (ROW.replace("7,", "-7,"), "has '-7' for fnlwgt in sample 1, expected"),
    ],
)
def test_a_row_that_is_none_is_refused(tmp_path, monkeypatch, row, message):
    train, test = f"{ROW}\n{row}\n\n", f"|1x3 Cross validator\n{ROW}.\n\n"
    (tmp_path / _adult.TRAIN).write_text(train)
    (tmp_path / _adult.TEST).write_text(test)
    digests = {_adult.TRAIN: md5(train.encode()), _adult.TEST: md5(test.encode())}
    monkeypatch.setattr(_adult, "DIGESTS", digests)
    with pytest.raises(bp.DataError, match=message):
        load_adult(tmp_path)


def test_labels_are_checked_with_the_sample_named():
    check_labels(torch.tensor([[0, 1], [2, -100]]), 3, ignore_index=-100)
    with pytest.raises(bp.DataError, match="labels: sample 1 has label -100; expected 0 to 2"):
        check_labels(torch.tensor([[0, 1], [2, -100]]), 3)
    with pytest.raises(bp.DataError, match=r"train: sample 0 has label 3;.*\(2 labels in all"):
        check_labels(torch.tensor([3, 0, 4]), 3, where="train")


def test_values_are_checked_with_the_sample_named():
    check_finite(torch.ones(3, 2))
    with pytest.raises(bp.DataError, match=r"values: sample 2 has -inf; expected finite numbers"):
        check_finite(torch.tensor([[1.0, 2.0], [0.0, 0.0], [1.0, float("-inf")]]))


def test_text_is_what_the_folder_has(data, tmp_path):
    assert load_text(data).name == load_text(data / "names").name == "names"
    assert load_text(data / "tiny-shakespeare").name == "tiny Shakespeare"
    with pytest.raises(bp.DataError, match=r"missing names.txt, or input.txt of tiny-shakespeare"):
        load_text(tmp_path)
    with pytest.raises(bp.DataError, match="does not exist"):
        load_text(tmp_path / "gone")
    (tmp_path / "input.txt").write_text("cut sho")
    with pytest.raises(bp.DataError, match=r"input\.txt has md5"):
        load_text(tmp_path)
