"""Scores of torchmetrics, Lightning, scikit-learn and segmentation_models: a mean, or a ratio.

A score of a batch is a mean over its samples, as an accuracy is, or a ratio of counts, as an F1
score is. Micro averages of single-label classification are accuracies, whatever their name.
"""

import re
from collections.abc import Mapping

from batchproof.audit._dimensions._lattice import Base, Constant, Value

_MEANS = {
    "accuracy", "accuracy_score", "mean_squared_error", "mean_absolute_error", "hamming_loss",
    "hamming_distance",
}  # fmt: skip
_MICRO = {
    "f1", "f1_score", "fbeta", "fbeta_score", "f_score", "fscore", "precision", "precision_score",
    "recall", "recall_score", "dice",
}  # fmt: skip
_RATIOS = {
    "specificity", "iou", "iou_score", "mean_iou", "jaccard", "jaccard_index", "jaccard_score",
    "dice_score", "auroc", "auc", "roc_auc_score", "average_precision", "average_precision_score",
    "matthews_corrcoef", "matthews_corr_coef", "cohen_kappa", "cohen_kappa_score", "r2_score",
    "r2score", "explained_variance", "explained_variance_score", "pearson_corrcoef",
    "pearson_corr_coef", "spearman_corrcoef", "spearman_corr_coef", "balanced_accuracy",
    "balanced_accuracy_score", "root_mean_squared_error", "peak_signal_noise_ratio", "psnr",
    "perplexity", "word_error_rate", "char_error_rate", "bleu_score", "sensitivity",
    "positive_predictive_value",
}  # fmt: skip
_PACKAGE = re.compile(
    r"(?P<torch>(?:torchmetrics|(?:pytorch_lightning|lightning(?:\.pytorch)?)\.metrics)(?:\.\w+)*)\.\w+"
    r"|(?P<sklearn>sklearn\.metrics)\.\w+|(?P<smp>segmentation_models_pytorch(?:\.\w+)*)\.\w+"
)
_KIND = re.compile(r"(binary|multiclass|multilabel)_(.+)")


def words_of_score(name: str) -> str:
    """Return the name of a score in lower case: MulticlassF1Score is "multiclass_f1_score"."""
    short = name.rpartition(".")[2].replace("IoU", "Iou")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", short).lower()


def is_score(name: str) -> bool:
    """Return whether a name, as imports resolve it, is that of a score of such a library."""
    core = _KIND.sub(r"\2", words_of_score(name))
    return core in _MEANS | _MICRO | _RATIOS and bool(_PACKAGE.fullmatch(name))


def is_class(name: str) -> bool:
    """Return whether a score is a class, whose objects are called, and not a function."""
    return name.rpartition(".")[2][:1].isupper()


def base_of_score(name: str, keywords: Mapping[str, Value]) -> tuple[Base, bool] | None:
    """Return what a score of a batch is, and whether the code shows it; None where it does not.

    Args:
        name: the score, as imports resolve it.
        keywords: the keywords that it is built or called with.
    """
    words, package = words_of_score(name), _PACKAGE.fullmatch(name)
    if package is None:
        return None
    if package["sklearn"]:
        return _of_sklearn(words, keywords)
    if package["smp"]:
        return _of_segmentation(words, keywords, old=".utils." in name)
    return _of_torchmetrics(words, keywords)


def _text(keywords: Mapping[str, Value], name: str) -> str:
    """Return the string of a keyword, "none" for None, "" where it is absent, "?" if unknown."""
    value = keywords.get(name)
    if value is None:
        return ""
    return f"{value.value}".lower() if isinstance(value, Constant) else "?"


def _of_sklearn(words: str, keywords: Mapping[str, Value]) -> tuple[Base, bool] | None:
    if keywords.keys() & {"normalize", "sample_weight", "multioutput"}:
        return None
    average = _text(keywords, "average")
    if words in _MEANS:
        squared = keywords.get("squared", Constant(value=True))
        return None if squared != Constant(value=True) else ("mean", True)
    if average in {"micro", "samples"} or (average == "weighted" and words == "recall_score"):
        return "mean", False
    return "coupled", average != "?"


def _of_segmentation(
    words: str, keywords: Mapping[str, Value], *, old: bool
) -> tuple[Base, bool] | None:
    """Return what a score of segmentation_models_pytorch is; that of each image is no ratio."""
    reduction = _text(keywords, "reduction")
    if words in _MEANS:
        return "mean", old or reduction == "micro"
    if old:
        return "coupled", True
    return ("coupled", True) if reduction in {"micro", "macro", "weighted"} else None


def _of_torchmetrics(words: str, keywords: Mapping[str, Value]) -> tuple[Base, bool] | None:
    match = _KIND.fullmatch(words)
    kind, core = (match[1], match[2]) if match else (_text(keywords, "task"), words)
    average = _text(keywords, "average") or ("macro" if match and kind == "multiclass" else "")
    average = {"elementwise_mean": "macro"}.get(_text(keywords, "reduction"), average)
    average = _text(keywords, "class_reduction") or average
    if core in {"accuracy", "hamming_distance"}:
        return ("coupled" if average in {"macro", "none"} else "mean"), True
    if core in _MEANS:
        squared = keywords.get("squared", Constant(value=True))
        return ("mean" if squared == Constant(value=True) else "coupled"), True
    if core in _RATIOS or kind in {"binary", "multilabel"}:
        return "coupled", True
    if average == "micro" or (kind == "multiclass" and not average):
        return "mean", False
    if average == "weighted" and core.startswith("recall"):
        return "mean", False
    return "coupled", average in {"macro", "weighted", "none"}
