"""A small transformer predicts the next character.

    batchproof train char_lm --data DIR  names.txt, or tiny-shakespeare
    batchproof train char_lm             generated words; no files

The loss is the mean over characters, however long the names are, in nats and in bits. The logits
of a batch are never held at once. With --tokens N the texts of a step are cut again, into the
cheapest micro-batches of at most N characters; no number changes.

Expect of the test part, in bits per character, after two epochs: 3.06 on names, 2.95 on
tiny-shakespeare, 2.82 on the generated words, whose entropy is 2.79.
"""

import math
from typing import Annotated, Any

import torch
from torch import Tensor, nn

import batchproof as bp
from batchproof import data
from batchproof.recipes import Between, Results, Settings, run

PADDING = -100
HEADS = 4


def generated(words: int = 5000) -> data.Words:
    """Return words of 1 to 4 syllables, each a consonant and a vowel, all equally likely."""
    draw = torch.Generator().manual_seed(0)

    def pick(letters: str) -> str:
        return letters[int(torch.randint(len(letters), (), generator=draw))]

    lengths = torch.randint(1, 5, (words,), generator=draw).tolist()
    syllables = (
        ["".join((pick("bdfgklmnprst"), pick("aeiou"))) for _ in range(n)] for n in lengths
    )
    return data.words_of(["".join(word) for word in syllables])


def read(settings: Settings, context: int) -> tuple[str, data.Ragged, data.Ragged, data.Alphabet]:
    """Return the name of the data, texts to train on, texts held out, and their characters."""
    if settings.data is None:
        words = generated()
        return words.name, words.train, words.test, words.alphabet
    text = data.load_text(settings.folder("https://github.com/karpathy: makemore, char-rnn"))
    if isinstance(text, data.Words):
        return text.name, text.train, text.test, text.alphabet
    train_windows, unseen = (data.cut_windows(part, context) for part in (text.train, text.test))
    train, test = (data.Ragged.of(list(windows)) for windows in (train_windows, unseen))
    return text.name, train, test, text.alphabet


def shifted(batch: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    """Return characters and, for each, the next one; texts are padded on the right."""
    (texts,) = batch
    codes = texts.pad(PADDING)
    return codes[:, :-1].clamp(min=0), codes[:, 1:]


class Transformer(nn.Module):
    """A causal transformer that returns hidden states; the loss applies its head."""

    def __init__(self, symbols: int, longest: int, width: int, layers: int) -> None:
        super().__init__()
        self.symbol = nn.Embedding(symbols, width)
        self.place = nn.Parameter(torch.zeros(longest, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, HEADS, 4 * width, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, symbols, bias=False)

    def forward(self, symbols: Tensor) -> Tensor:
        """Return the hidden state at each character, (texts, characters, width)."""
        length = symbols.shape[1]
        hidden = self.symbol(symbols) + self.place[:length]
        # no character sees those after it, so only padding sees the padding on the right
        future = torch.ones(length, length, dtype=torch.bool, device=symbols.device).triu(1)
        for layer in self.layers:
            hidden = layer(hidden, src_mask=future, is_causal=True)
        outputs: Tensor = self.norm(hidden)
        return outputs


def loss(model: Transformer, batch: tuple[Tensor, Tensor]) -> bp.Outcome:
    """Return the mean over characters, and the same in bits."""
    symbols, target = batch
    nats = bp.linear_cross_entropy(model(symbols), model.head.weight, target, ignore_index=PADDING)
    bits = bp.Mean(nats.total.detach() / math.log(2), nats.weight, nats.unit)
    return bp.Outcome(nats, {"bits_a_character": bits})


def main(
    settings: Settings = Settings(epochs=2, batch_size=32, lr=2e-3),
    *,
    context: Annotated[int, Between(1, 4096), "characters a window, of a running text"] = 64,
    width: Annotated[int, Between(HEADS, 4096), "features a character inside the model"] = 64,
    layers: Annotated[int, Between(1, 64), "transformer layers"] = 2,
    tokens: Annotated[
        int, Between(0, 2**20), "most positions of a micro-batch; 0: batches as they come"
    ] = 0,
) -> Results:
    """Train the transformer, and measure it on texts that it has not seen."""
    if width % HEADS:
        raise bp.SettingError(f"width is {width}; expected a multiple of {HEADS}, for the heads.")
    name, windows, unseen, alphabet = read(settings, context)
    held_out = torch.arange(len(windows)) % 10 == 0
    train = settings.batches(windows[~held_out], shuffle=True, transform=shifted)
    val = settings.batches(windows[held_out], transform=shifted)
    test = settings.batches(unseen, transform=shifted)

    torch.manual_seed(settings.seed)
    longest = max(windows.shape[1], unseen.shape[1]) - 1
    model = Transformer(len(alphabet), longest, width, layers)
    optimizer = torch.optim.AdamW(model.parameters(), settings.lr)
    trainer = settings.trainer(model, loss, optimizer, data=name, tokens=tokens or None)
    history = settings.fit(trainer, train, val)
    estimates = {"validation": trainer.evaluate(val), "test": trainer.evaluate(test)}
    return Results(history, estimates, name)


if __name__ == "__main__":
    run(main)
