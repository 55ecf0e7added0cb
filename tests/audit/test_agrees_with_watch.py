"""Audit reads the scripts that watch runs, and names what watch names, or nothing."""

import ast
from pathlib import Path

import pytest

from batchproof.audit._analyse import all_rules, analyse
from batchproof.audit._finding import Finding
from batchproof.audit._project import Source
from watched_scripts import SCRIPTS, watched

# what only a run shows (sizes, values, orders, which parameters an optimizer holds, whether weights
# are on the CPU already, which samples a sampler draws), or what audit does not follow yet:
# batches of a generator, loops that draw what they evaluate, losses of policies by hand
UNSEEN = {
    "grad_empty_micro_batch",
    "grad_empty_micro_batch_window",
    "grad_mean_of_means_by_hand",
    "grad_mean_of_means_last_batch",
    "grad_mean_of_means_policy",
    "grad_mean_of_means_ragged_tokens",
    "grad_mean_of_means_window_at_once",
    "grad_not_divided_masked",
    "grad_not_divided_step_inside_the_backward_pass",
    "grad_not_divided_window_at_once",
    "grad_not_zeroed_other_model",
    "grad_not_zeroed_step_inside_the_backward_pass",
    "grad_term_scaled_apart_short_window",
    "grad_weight_per_micro_batch",
    "loop_best_by_reference_detached",
    "loop_best_by_reference_folds",
    "loop_best_by_reference_restored",
    "num_batch_means_by_rows",
    "num_last_batch_refilled",
    "num_masked_tokens_repeated",
}
# one thing by two names: a short window with the full divisor is a leftover window to audit, and
# gradients that each batch of a window zeroes are those of one batch; the number of one rank of a
# DistributedSampler is also rank-local
NEAR = {
    "one-micro-batch-only": {"zeroed-before-step"},
    "fixed-window-size": {"leftover-window"},
    "duplicated-samples": {"rank-local-reported"},
}
# watch names the line that shows or makes a number, audit the line that gets it wrong: here it is
# returned from one function to another in between, or a sampler draws what the number is of;
# everywhere else both are lines of one passage
RETURNED = {
    "grad_divided_twice",
    "num_returned_last_batch",
    "num_returned_mean_of_means",
    "num_sampler_repeats",
    "num_sampler_repeats_regression",
}
PASSAGE = 5  # lines


def expected(text: str) -> set[str]:
    """Return the names that the first line of a script promises."""
    first = text.partition("\n")[0]
    return set() if first == "# right" else set(first.removeprefix("# expects: ").split(", "))


def reported(path: Path) -> list[Finding]:
    """Return what audit finds in a script."""
    text = path.read_text()
    return analyse(Source(path, text, ast.parse(text)), str(path))


def found(path: Path) -> dict[str, str]:
    """Return the grade of each mistake that audit names in a script."""
    return {f.name: f.grade for f in sorted(reported(path), key=lambda f: f.grade == "sure")}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_what_audit_is_sure_of_is_what_watch_sees(path):
    names = expected(path.read_text())
    near = set().union(*(NEAR.get(name, set()) for name in names))
    sure = {name for name, grade in found(path).items() if grade == "sure"}
    assert sure <= names | near


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_what_watch_sees_and_the_text_shows_audit_finds(path):
    names = expected(path.read_text()) & all_rules().keys()
    assert (names <= found(path).keys()) is (path.stem not in UNSEEN)


@pytest.mark.slow
@pytest.mark.xdist_group("watched scripts")
@pytest.mark.timeout(900)  # the first of them runs all scripts
@pytest.mark.parametrize(
    "path", [path for path in SCRIPTS if expected(path.read_text())], ids=lambda path: path.stem
)
def test_both_point_to_lines_of_one_passage(path):
    audited = {}
    for finding in reported(path):
        audited.setdefault(finding.name, []).append(finding.line)
    seen = {}
    for name, place in watched()[str(path)]["places"]:
        seen.setdefault(name, []).append(int(place.rpartition(":")[2]))
    for name in audited.keys() & seen.keys():
        apart = min(abs(mine - other) for mine in audited[name] for other in seen[name])
        assert (apart <= PASSAGE) is (path.stem not in RETURNED), (audited, seen)
