"""Text for character language models: names, one per line, and Shakespeare, one long text.

References:
    Karpathy: makemore (names from ssa.gov); char-rnn (tiny Shakespeare).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from batchproof._errors import DataError
from batchproof.data._files import find_file, read_text
from batchproof.data._ragged import Ragged

NAMES_AT = "https://github.com/karpathy/makemore"
SHAKESPEARE_AT = "https://github.com/karpathy/char-rnn"
NAMES = ("names", "names.txt", "401b3c4cac9e28a586ed15e81256680d")
SHAKESPEARE = ("tiny-shakespeare", "input.txt", "6fb458f1232090904fb40fe944165e91")


@dataclass(frozen=True, slots=True)
class Alphabet:
    """The characters of a text, each with a code from 0.

    Attributes:
        characters: in the order of their codes.

    Examples:
        >>> alphabet = Alphabet.of("hello")
        >>> alphabet.characters, alphabet.decode(alphabet.encode("hole"))
        ('ehlo', 'hole')
    """

    characters: str

    @classmethod
    def of(cls, text: str) -> "Alphabet":
        """Return the characters that occur in a text, in order."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> Int[Tensor, " characters"]:
        """Return the codes of a text.

        Raises:
            DataError: if a character is not in the alphabet.
        """
        codes = {character: code for code, character in enumerate(self.characters)}
        try:
            return torch.tensor([codes[character] for character in text], dtype=torch.int64)
        except KeyError as error:
            raise DataError(
                f"character {error.args[0]!r} at {text.index(error.args[0])} is not in the "
                f"alphabet {self.characters!r}. Leave it out of the text."
            ) from error

    def decode(self, codes: Int[Tensor, " characters"]) -> str:
        """Return the text of these codes."""
        return "".join(self.characters[code] for code in codes.tolist())


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """Short texts of unequal length, for a language model that begins and ends each.

    Attributes:
        name: the data set's.
        train: texts to train on, codes from 0, each with the newline before and after it.
        test: texts held out.
        alphabet: its first character is the newline.
    """

    name: str
    train: Ragged
    test: Ragged
    alphabet: Alphabet


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """One long text.

    Attributes:
        name: the data set's.
        train: codes to train on, shape (train,), int64.
        test: codes held out, the last tenth, shape (test,).
        alphabet: the characters.
    """

    name: str
    train: Int[Tensor, " train"]
    test: Int[Tensor, " test"]
    alphabet: Alphabet


def load_names(root: Path | str) -> Words:
    """Read names.txt: 32,033 names of 2 to 15 letters; every tenth, from the first, is held out.

    Args:
        root: the folder that holds names.txt, or that holds names/.

    Raises:
        DataError: if the file is missing, damaged, or not the published one.
    """
    folder, name, digest = NAMES
    return words_of(read_text(root, folder, name, digest, NAMES_AT).split(), name="names")


def load_text(root: Path | str) -> Words | Text:
    """Read names.txt, or tiny Shakespeare if the folder holds that.

    Args:
        root: a folder as load_names or load_tiny_shakespeare takes it.

    Raises:
        DataError: if it has neither, or the file is damaged.
    """
    root = Path(root)
    for (folder, name, _), load in ((NAMES, load_names), (SHAKESPEARE, load_tiny_shakespeare)):
        if find_file(root, name) or find_file(root / folder, name):
            return load(root)
    if not root.is_dir():
        return load_names(root)
    raise DataError(
        f"no text is in {root}: missing {NAMES[1]}, or {SHAKESPEARE[1]} of {SHAKESPEARE[0]}. "
        f"Give the folder that holds one of them, or get it from {NAMES_AT} or {SHAKESPEARE_AT}."
    )


def words_of(words: list[str], *, name: str = "words") -> Words:
    r"""Encode words; every tenth, from the first, is held out.

    Args:
        words: two or more.
        name: the data set's.

    Raises:
        DataError: if there are fewer.

    Examples:
        >>> words = words_of(["emma", "ava"])
        >>> [words.alphabet.decode(words.train[i]) for i in range(len(words.train))]
        ['\nava\n']
    """
    if len(words) < 2:
        raise DataError(f"there are {len(words)} words; expected 2 or more, to hold one out.")
    alphabet = Alphabet.of("\n" + "".join(words))
    codes = alphabet.encode("\n" + "\n".join(words) + "\n")
    # each word shares its newlines with its neighbours: it begins where the last one ended
    ends = (codes == alphabet.characters.index("\n")).nonzero()[:, 0]
    texts = [codes[a : b + 1] for a, b in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True)]
    train = [text for number, text in enumerate(texts) if number % 10]
    return Words(name, Ragged.of(train), Ragged.of(texts[::10]), alphabet)


def load_tiny_shakespeare(root: Path | str) -> Text:
    """Read tiny Shakespeare: 1,115,394 characters, 65 symbols; the last tenth is held out.

    Args:
        root: the folder that holds input.txt, or that holds tiny-shakespeare/.

    Raises:
        DataError: if the file is missing, damaged, or not the published one.
    """
    folder, name, digest = SHAKESPEARE
    return text_of(read_text(root, folder, name, digest, SHAKESPEARE_AT), name="tiny Shakespeare")


def text_of(text: str, *, name: str = "text") -> Text:
    """Encode a text; the last tenth is held out.

    Args:
        text: two characters or more.
        name: the data set's.

    Raises:
        DataError: if there are fewer.
    """
    if len(text) < 2:
        raise DataError(f"the text has {len(text)} characters; expected 2 or more.")
    alphabet = Alphabet.of(text)
    codes = alphabet.encode(text)
    cut = len(codes) - max(1, len(codes) // 10)
    return Text(name, codes[:cut], codes[cut:], alphabet)


def cut_windows(codes: Int[Tensor, " characters"], length: int) -> Int[Tensor, "samples elements"]:
    """Cut a text into samples of length + 1 characters, whose first length are inputs.

    Neighbours share one character, so that each but the first is a target exactly once; what is
    left over at the end is dropped.

    Args:
        codes: the text.
        length: targets per sample.

    Returns:
        A view of codes, shape (samples, length + 1).

    Raises:
        DataError: if the text is shorter than one sample.

    Examples:
        >>> cut_windows(torch.arange(6), 2).tolist()
        [[0, 1, 2], [2, 3, 4]]
    """
    if length < 1 or len(codes) <= length:
        raise DataError(
            f"the text has {len(codes)} characters, too few for samples of {length} + 1; "
            "expected a length from 1 to one less than the text's."
        )
    return codes.unfold(0, length + 1, length)
