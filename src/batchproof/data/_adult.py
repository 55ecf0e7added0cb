"""UCI Adult: a census sample in which each row represents `fnlwgt` people.

References:
    Becker, Kohavi (1996): Adult, UCI 2.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from batchproof._errors import DataError
from batchproof.data._files import damaged, find_file, find_folder, read_text

TRAIN, TEST = "adult.data", "adult.test"
DIGESTS = {
    TRAIN: "5d7c39d7b8804f071cdd1f2a7c460872",
    TEST: "35238206dfdf7f1fe215bbb874adecdc",
}
PUBLISHED = "https://archive.ics.uci.edu/dataset/2/adult"
NUMBERS = ("age", "education-num", "capital-gain", "capital-loss", "hours-per-week")
WEIGHT = "fnlwgt"
COLUMNS = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education-num",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
    "native-country",
    "income",
)
CATEGORIES = tuple(name for name in COLUMNS[:-1] if name not in (*NUMBERS, WEIGHT))
INCOMES = ("<=50K", ">50K")


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of a table.

    Attributes:
        numbers: shape (samples, 5), float32, as in the file.
        codes: categories, coded from 0, shape (samples, 8), int64.
        labels: 1 for an income above 50K, shape (samples,), int64.
        weight: the number of people that a row represents, shape (samples,), float64.
    """

    numbers: Float[Tensor, "samples numbers"]
    codes: Int[Tensor, "samples categories"]
    labels: Int[Tensor, " samples"]
    weight: Float[Tensor, " samples"]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class TableData:
    """A table: rows to train on, and rows held out.

    Attributes:
        name: the data set's.
        train: rows to train on.
        test: rows held out.
        numbers: the names of the columns of Rows.numbers.
        categories: for each column of Rows.codes, by name, the values in the order of their codes;
            "?" is a value that is missing.
    """

    name: str
    train: Rows
    test: Rows
    numbers: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]

    def features(self, rows: Rows) -> Float[Tensor, "samples features"]:
        """Return the numbers standardised like the training rows, and the categories one-hot.

        Standardising takes the weighted mean and spread of the training rows.
        """
        share = self.train.weight / self.train.weight.sum()
        reference = self.train.numbers.double()
        mean = share @ reference
        spread = (share @ (reference - mean).square()).sqrt()
        numbers = (rows.numbers.double() - mean) / torch.where(spread == 0, 1, spread)
        hot = [
            torch.nn.functional.one_hot(codes, len(values))
            for codes, values in zip(rows.codes.T, self.categories.values(), strict=True)
        ]
        return torch.cat([numbers.float(), *(column.float() for column in hot)], 1)

    def group(self, rows: Rows, category: str) -> Int[Tensor, " samples"]:
        """Return the code of each row in one category, for a breakdown by it.

        Raises:
            DataError: if there is no such category.
        """
        if category not in self.categories:
            raise DataError(
                f"{category!r} is not a category; expected one of {', '.join(self.categories)}."
            )
        return rows.codes[:, list(self.categories).index(category)]


def load_adult(root: Path | str) -> TableData:
    """Read UCI Adult: 32,561 and 16,281 rows, five numbers, eight categories, a survey weight.

    Args:
        root: the folder that holds adult.data and adult.test, or that holds adult/.

    Raises:
        DataError: if a file is missing, damaged, or not the published one.
    """
    folder = find_folder(Path(root), ("", "adult"), (TRAIN, TEST), "Adult", PUBLISHED)
    train, test = (_read(folder, name) for name in (TRAIN, TEST))
    categories = {
        name: tuple(sorted({*train[name].tolist(), *test[name].tolist()})) for name in CATEGORIES
    }
    return TableData(
        "Adult", _rows(train, categories), _rows(test, categories), NUMBERS, categories
    )


def _read(folder: Path, name: str) -> dict[str, np.ndarray]:
    path = find_file(folder, name)
    assert path is not None
    text = read_text(folder, "", name, DIGESTS[name], PUBLISHED)
    # adult.test begins with a line that is not a row, and ends its labels with a dot
    lines = [line for line in text.splitlines() if line and not line.startswith("|")]
    rows = [line.rstrip(".").split(", ") for line in lines]
    wrong = next((number for number, row in enumerate(rows) if len(row) != len(COLUMNS)), None)
    if wrong is not None:
        raise damaged(path, f"has {len(rows[wrong])} columns in sample {wrong}, expected 15")
    columns = dict(zip(COLUMNS, np.array(rows).T, strict=True))
    invalid = ~np.isin(columns["income"], INCOMES)
    if invalid.any():
        sample = int(invalid.argmax())
        label = columns["income"][sample]
        raise damaged(
            path, f"has label {str(label)!r} in sample {sample}, expected one of {INCOMES}"
        )
    for column in (*NUMBERS, WEIGHT):
        _check_numbers(path, column, columns[column])
    return columns


def _check_numbers(path: Path, column: str, texts: np.ndarray) -> None:
    # digits alone: float() also takes texts that are not whole numbers of 0 or more
    wrong = ~np.char.isdigit(texts)
    if wrong.any():
        sample = int(wrong.argmax())
        how = f"has {str(texts[sample])!r} for {column} in sample {sample}, expected a number"
        raise damaged(path, how)


def _rows(columns: dict[str, np.ndarray], categories: dict[str, tuple[str, ...]]) -> Rows:
    numbers = np.stack([columns[name].astype(np.float32) for name in NUMBERS], 1)
    codes = [np.searchsorted(values, columns[name]) for name, values in categories.items()]
    return Rows(
        torch.from_numpy(numbers),
        torch.from_numpy(np.stack(codes, 1).astype(np.int64)),
        torch.from_numpy((columns["income"] == INCOMES[1]).astype(np.int64)),
        torch.from_numpy(columns[WEIGHT].astype(np.float64)),
    )
