"""Batches of transformers' collate functions, recut and packed: the gradient of models stays."""

import pytest
import torch
from torch.nn import functional as F

import batchproof as bp
from batchproof.data import recut, windows_of

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")

LENGTHS = ((3, 9, 5), (7, 2, 8), (4, 4, 4))
# transformers' norms and rotations are in float32 also where the model is in float64
NEAR = {"rtol": 1e-6, "atol": 1e-7}
SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 40}


def tokenizer_of(side="right"):
    words = {"[PAD]": 0, "[MASK]": 1, "[UNK]": 2, **{f"w{i}": i for i in range(3, 40)}}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=model,
        pad_token="[PAD]",
        mask_token="[MASK]",
        unk_token="[UNK]",
        padding_side=side,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def features_of(lengths, labels, start):
    draw = torch.Generator().manual_seed(start)
    found = []
    for length in lengths:
        ids = torch.randint(3, 40, (length,), generator=draw).tolist()
        target = torch.randint(3, 40, (length // 2 + 1,), generator=draw).tolist()
        label = {"one": ids[0] % 3, "tokens": [i % 3 for i in ids], "other": target}
        feature = {"input_ids": ids, "attention_mask": [1] * length}
        found.append({**feature, **({} if labels is None else {"labels": label[labels]})})
    return found


def window_of(collator, labels):
    return [collator(features_of(sizes, labels, i)) for i, sizes in enumerate(LENGTHS)]


def bert(kind):
    config = transformers.BertConfig(
        **SIZE,
        intermediate_size=16,
        num_labels=3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=0,
    )
    return getattr(transformers, kind)(config)


def llama(attention="sdpa"):
    config = transformers.LlamaConfig(**SIZE, intermediate_size=16, attn_implementation=attention)
    return transformers.LlamaForCausalLM(config)


def t5():
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=40,
            d_model=16,
            d_kv=8,
            d_ff=16,
            num_layers=1,
            num_heads=2,
            dropout_rate=0.0,
            decoder_start_token_id=0,
        )
    )


def loss_of(shifts):
    def loss(model, batch):
        labels = batch["labels"]
        given = {k: v for k, v in batch.items() if k not in ("segments", "cu_seqlens")}
        if not shifts or "decoder_input_ids" in given:
            given.pop("labels")
        logits = model(**given, **({"use_cache": False} if shifts else {})).logits
        if shifts:
            logits, labels = logits[:, :-1], labels[:, 1:]
        if labels.ndim == 1:
            return bp.reduce(F.cross_entropy(logits, labels, reduction="none"))
        losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        return bp.reduce(losses, mask=labels != -100)

    return loss


def stepped(build, batches, loss):
    torch.manual_seed(0)
    model = build().double().eval()
    bp.Step(model, torch.optim.SGD(model.parameters(), lr=1.0))(batches, loss)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def seq2seq(**more):
    return transformers.DataCollatorForSeq2Seq(tokenizer_of(), **more)


def t5_loss(model, batch):
    labels = batch["labels"]
    inputs = {k: v for k, v in batch.items() if k != "token_type_ids"}
    losses = F.cross_entropy(model(**inputs).logits.transpose(1, 2), labels, reduction="none")
    return bp.reduce(losses, mask=labels != -100)


def causal(side="right", **more):
    return transformers.DataCollatorForLanguageModeling(tokenizer_of(side), mlm=False, **more)


def left():
    """No first token is predicted, which a shifted loss would predict from the padding."""

    def collate(features):
        batch = causal("left")(features)
        first = batch["attention_mask"].cumsum(1) == 1
        batch["labels"] = batch["labels"].masked_fill(first, -100)
        return batch

    return collate


CASES = {
    "DataCollatorWithPadding": (
        lambda: transformers.DataCollatorWithPadding(tokenizer_of()),
        "one", lambda: bert("BertForSequenceClassification"), loss_of(shifts=False),
    ),
    "DataCollatorForTokenClassification": (
        lambda: transformers.DataCollatorForTokenClassification(tokenizer_of()),
        "tokens", lambda: bert("BertForTokenClassification"), loss_of(shifts=False),
    ),
    "DataCollatorForSeq2Seq": (seq2seq, "other", t5, t5_loss),
    "DataCollatorForSeq2Seq, with its model": (lambda: seq2seq(model=t5()), "other", t5, t5_loss),
    "DataCollatorForSeq2Seq, a multiple": (
        lambda: seq2seq(pad_to_multiple_of=8), "other", t5, t5_loss,
    ),
    "DataCollatorForLanguageModeling, masked": (
        lambda: transformers.DataCollatorForLanguageModeling(tokenizer_of(), seed=1),
        None, lambda: bert("BertForMaskedLM"), loss_of(shifts=False),
    ),
    "DataCollatorForLanguageModeling, causal": (causal, None, llama, loss_of(shifts=True)),
    "causal, padded on the left": (left, None, llama, loss_of(shifts=True)),
    "causal, a multiple": (
        lambda: causal(pad_to_multiple_of=16), None, llama, loss_of(shifts=True),
    ),
}  # fmt: skip


@pytest.mark.parametrize("tokens", [9, 24])
@pytest.mark.parametrize("name", CASES)
def test_the_gradient_stays_and_padding_goes(name, tokens):
    collator, labels, build, loss = CASES[name]
    window = window_of(collator(), labels)
    cut = recut(window, tokens=tokens)
    for batch in cut:
        assert batch["attention_mask"].any(0).all()
        assert type(batch) is type(window[0])
    assert cut.padding.after < cut.padding.before
    expected = stepped(build, window, loss)
    torch.testing.assert_close(stepped(build, cut, loss), expected, **NEAR)


def test_labels_that_are_predicted_from_padding_are_refused():
    with pytest.raises(bp.DataError, match="the first counts in 2 samples padded on the left"):
        recut(window_of(causal("left"), None), tokens=24)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("tokens", [9, 100])
def test_packed_rows_are_those_of_the_padding_free_collator(attention, tokens):
    window = window_of(causal(), None)
    cut = recut(window, tokens=tokens, pack="shifted")
    expected = stepped(lambda: llama(attention), window, loss_of(shifts=True))
    weights = stepped(lambda: llama(attention), cut, loss_of(shifts=True))
    torch.testing.assert_close(weights, expected, **NEAR)
    features = [f for i, sizes in enumerate(LENGTHS) for f in features_of(sizes, None, i)]
    flat = transformers.DataCollatorWithFlattening()(
        [{"input_ids": f["input_ids"]} for f in features]
    )
    (row,) = recut(window, pack="shifted")
    for column in ("input_ids", "labels", "position_ids"):
        assert torch.equal(row[column], flat[column]), column


def test_windows_of_a_data_set_take_the_padding_free_collator():
    features = [f for i, sizes in enumerate(LENGTHS) for f in features_of(sizes, None, i)]
    features = [{"input_ids": f["input_ids"]} for f in features]
    options = {"samples": 9, "tokens": 20, "length": [len(f["input_ids"]) for f in features]}
    flat = transformers.DataCollatorWithFlattening()
    (window,) = windows_of(features, collate=flat, pack=True, shuffle=False, **options)
    assert all(len(batch["input_ids"]) == 1 for batch in window)
    expected = stepped(llama, window_of(causal(), None), loss_of(shifts=True))
    weights = stepped(llama, window, loss_of(shifts=True))
    torch.testing.assert_close(weights, expected, **NEAR)
