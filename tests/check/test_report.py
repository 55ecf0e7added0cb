"""What a person or a program reads: text, JSON, page, assertion."""

import json
import re
from dataclasses import replace

import pytest
import torch

import check_cases as cases
from batchproof import CutDependenceError
from batchproof.check import (
    CutResult,
    Diagnosis,
    Heads,
    check_evaluate,
    check_heads,
    check_step,
)
from batchproof.check._report._document import pictures_of, table_of
from batchproof.check._report._report import SCHEMA
from batchproof.check._report._results import merge
from batchproof.mistakes import CATALOGUE


def case(title):
    return next(c for c in [*cases.RIGHT, *cases.WRONG] if c.title == title)


@pytest.fixture(scope="module")
def wrong():
    return case("gru, padded, by means").probe().check(name="steps:padded")


@pytest.fixture(scope="module")
def right():
    return case("gru, over steps").probe().check()


def test_the_text_says_first_what_is_wrong_and_then_what_to_write(wrong):
    lines = str(wrong).splitlines()
    assert lines[0].startswith("The step depends on the cut: padding-counted.")
    text = str(wrong)
    assert text.index("DEPENDS") < text.index("Remedy:") < text.index("torch.where(mask, losses")
    assert "\x1b" not in text
    assert max(map(len, lines)) <= 100


def test_the_text_of_a_right_step_says_what_it_is_a_mean_over(right):
    assert str(right).startswith("The step gives the same under all")
    assert "Mean over: unmasked elements of mask" in str(right)
    assert "DEPENDS" not in str(right)


def test_the_json_follows_its_schema(wrong, tmp_path):
    content = json.loads(wrong.to_json(tmp_path / "report.json"))
    assert json.loads((tmp_path / "report.json").read_text()) == content
    assert content["schema"] == SCHEMA == 1
    assert set(content) == {
        *("schema", "kind", "ok", "verdict", "name", "unit", "unit_text", "reported_unit"),
        *("tolerance", "noise", "samples", "runs", "notes", "cuts", "diagnoses", "proof"),
    }
    assert set(content["cuts"][0]) == {
        *("name", "sizes", "ranks", "dependent", "error", "scale", "cosine", "change", "loss"),
        *("loss_error", "worst", "failure", "shares", "wanted", "share_residual"),
    }
    names = [d["name"] for d in content["diagnoses"]]
    assert names == ["padding-counted", "mean-of-micro-batch-means"]
    assert all(d["residual"] < 1e-9 for d in content["diagnoses"])


def test_json_writes_what_is_not_finite_as_a_word():
    report = case("gru, mean of means").probe().check()
    masked = next(c for c in json.loads(report.to_json())["cuts"] if c["name"] == "masked")
    assert masked["loss"] == "nan"


def test_the_page_needs_nothing_from_elsewhere_and_draws_every_cut(wrong, tmp_path):
    text = wrong.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == text
    assert not re.search(r"(src|href)=|<script|@import|url\(", text)
    # a bar a cut for the gradient, and one for the reported loss, which differs too; and the
    # shares of the cut that is furthest off
    furthest = max((cut for cut in wrong.cuts if len(cut.shares) > 1), key=lambda cut: cut.error)
    assert text.count("<rect") == 2 * len(wrong.cuts) + len(furthest.shares)


def test_raise_if_failed_raises_the_report_itself(wrong, right):
    right.raise_if_failed()
    with pytest.raises(CutDependenceError) as caught:
        wrong.raise_if_failed()
    assert str(caught.value) == str(wrong)
    assert isinstance(caught.value, AssertionError)


def test_a_cut_shows_what_scale_and_angle_the_gradient_has():
    report = case("mlp, not divided").probe().check()
    scales = {cut.name: cut.scale for cut in report.cuts}
    assert scales["whole"] == 1.0
    # seven samples, seven micro-batches of one, never divided
    assert scales["one-by-one"] == pytest.approx(7.0)
    assert next(c.cosine for c in report.cuts if c.name == "one-by-one") == pytest.approx(1.0)


def test_heads_are_one_row_each_and_one_that_cannot_run_does_not_end_the_table():
    heads = {
        "good": case("gru, over steps").probe(),
        "bad": case("mlp, not divided").probe(),
        "broken": cases.Case("", cases.TABULAR, lambda *_: None).probe(),
    }
    table = check_heads(heads)
    assert not table.ok
    assert table.verdict == "1 of 3 depend on the cut; 1 could not be run."
    rows = {line.split()[0]: line for line in str(table).splitlines() if line.strip()}
    assert "same" in rows["good"]
    assert "not-divided" in rows["bad"]
    assert "not run" in rows["broken"]
    content = json.loads(table.to_json())
    assert set(content["heads"]) == {"good", "bad"}
    assert "broken" in content["failures"]
    assert "not-divided" in table.to_html()
    with pytest.raises(CutDependenceError, match="1 of 3"):
        table.raise_if_failed()


def test_diagnoses_of_one_name_become_one_with_the_worse_residual():
    one = Diagnosis("leaking-state", "A.", "r", residual=1e-12)
    two = Diagnosis("leaking-state", "B.", "r", residual=1e-10)
    (merged,) = merge([one, two])
    assert merged.sentence == "A. B."
    assert merged.residual == 1e-10


def test_what_is_held_still_is_named():
    report = case("mlp, dropout switched off").probe().check()
    assert report.ok
    assert any("body.2" in note for note in report.notes)


def test_an_evaluation_that_draws_is_told_of_eval():
    run = cases.evaluation(cases.of_classes, "pooled")
    build = cases.Build(cases.Dropped)
    report = check_evaluate(run, cases.vectors(), build=build)
    assert any(note.endswith("should call model.eval() first") for note in report.notes)


def test_layers_that_look_at_their_batch_are_named():
    report = case("cnn, batch norm").probe().check()
    assert "conv.1" in report.diagnoses[0].sentence
    assert any(cut.dependent for cut in report.cuts)


def test_what_draws_is_named():
    report = case("mlp, noise").probe().check()
    assert "randn_like" in report.diagnoses[0].sentence


def test_the_term_that_is_scaled_apart_is_named_by_its_parameters():
    report = case("mlp, other head undivided").probe().check()
    sentence = report.diagnoses[0].sentence
    assert "other.weight" in sentence
    assert "summed over micro-batches" in sentence
    assert report.unit_text == "two terms, each a mean over samples"


def test_a_gradient_that_nothing_explains_comes_before_the_reported_loss_and_is_not_called_right():
    report = case("mlp, through a running sum").probe().check()
    assert report.verdict.startswith("The step depends on the cut, cause unknown. Under")
    assert report.verdict.endswith("(1 more below)")
    assert "the gradient is right" not in str(report)


def test_cuts_can_be_chosen_and_made():
    step = case("mlp, mean of means")
    build = cases.Build(cases.MLP)
    mine = {"mine": [[0, 2, 4, 6], [1], [3, 5]]}
    report = check_step(step.run, cases.vectors(), build=build, cuts=mine)
    assert [cut.name for cut in report.cuts] == ["whole", "mine"]
    assert report.names == ("mean-of-micro-batch-means",)
    report = check_step(step.run, cases.vectors(), build=build, cuts="halves, uneven")
    assert [cut.name for cut in report.cuts] == ["whole", "halves", "uneven"]


def test_the_lines_to_write_fit_a_terminal():
    remedies = (r for m in CATALOGUE.values() for r in (m.remedy, m.evaluation) if r)
    shown = [remedy.code for remedy in remedies]
    assert max(len(line) for code in shown for line in code.splitlines()) <= 74


def test_only_what_predicts_is_said_to_predict():
    drawn = case("mlp, noise").probe().check()
    assert "predicts" not in str(drawn)
    empty = next(d for d in case("gru, mean of means").probe().check().diagnoses if "nan" in d.name)
    assert empty.residual is None


def test_two_inquiries_give_the_same_report():
    probe = case("transformer, mean of means").probe()
    assert probe.check().to_json() == probe.check().to_json()


def test_float32_is_judged_by_what_float32_can_tell():
    good = case("transformer, over tokens")
    assert good.probe().check().ok
    report = cases.Case("", good.world, good.run, more={"dtype": torch.float32}).probe().check()
    assert report.ok
    assert report.tolerance == 2e-5


def undivided_and_clipped(model, optimizer, batches):
    """The commonest loop: never divided, clipped once at the end."""
    optimizer.zero_grad()
    value = 0.0
    for batch in batches:
        loss = cases.mean_of(cases.of_classes, model, batch)
        loss.backward()
        value += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()
    return value


def test_clipped_gradients_are_not_shown_as_unclipped():
    report = check_step(undivided_and_clipped, cases.vectors(), build=cases.Build(cases.MLP))
    scales = {cut.name: cut.scale for cut in report.cuts}
    assert scales["one-by-one"] == pytest.approx(7.0)
    assert scales["halves"] == pytest.approx(2.0, rel=0.02)
    assert any("shown and compared before clipping" in note for note in report.notes)
    each = case("mlp, clipped each").probe().check()
    assert any("shown as clipped" in note for note in each.notes)
    assert any(cut.dependent and cut.scale < 0.999 for cut in each.cuts)


def test_a_number_is_not_described_by_the_error_of_another():
    """Rank 0 is right and rank 1 is wrong."""
    good = CutResult("whole", "4", 1, False, 0.0, 1.0, 1.0, 0.0, 2.0, 0.0)
    bad = replace(good, name="ranks-2-even", ranks=2, dependent=True, error=3e-16, loss_error=0.25)
    table = table_of([good, bad], step=False)
    assert [row[1] for row in table.rows] == ["0", "0.25"]
    (picture,) = pictures_of([good, bad], step=False, tolerance=1e-9)
    assert [bar.note for bar in picture.bars] == ["0", "0.25"]
    of_step = table_of([good, bad], step=True)
    assert of_step.rows[1][3] == "3e-16"


def test_every_error_that_is_shown_is_the_same_in_text_page_and_table_of_heads():
    case_over_ranks = next(c for c in cases.EVALUATIONS if c.title == "means")
    report = case_over_ranks.probe().check(name="one")
    wrong = replace(report.cuts[1], error=7e-13, loss_error=0.25)
    report = replace(report, cuts=(report.cuts[0], wrong), diagnoses=())
    heads = Heads({"one": report}, {})
    for text in (str(report), report.to_html(), str(heads), heads.to_html()):
        assert "0.25" in text
        assert "7e-13" not in text


def test_what_the_cut_does_not_cause_has_a_headline_of_its_own():
    (dropped,) = (c for c in cases.EVALUATIONS if c.title == "without nan")
    report = dropped.probe().check()
    assert report.verdict.startswith("The evaluation gives the same under every cut, but drops")
    assert not report.ok
    noise = case("mlp, noise").probe().check()
    assert noise.verdict.startswith("The step gives another result in every run")
    called = case("mlp, a running scale").probe().check()
    assert called.verdict.startswith("The step depends on what was run before it: leaking-state")


def test_every_mistake_that_is_found_links_to_its_page(wrong):
    for diagnosis in wrong.diagnoses:
        assert diagnosis.page.endswith(f"docs/mistakes/{diagnosis.name}.md")
        assert diagnosis.page in str(wrong)
        assert diagnosis.page in wrong.to_html()
    assert [d["page"] for d in json.loads(wrong.to_json())["diagnoses"]] == [
        d.page for d in wrong.diagnoses
    ]


def test_the_terminal_shows_colour_and_the_text_none(wrong):
    import io

    from rich.console import Console

    file = io.StringIO()
    Console(file=file, force_terminal=True, color_system="standard", width=100).print(wrong)
    assert "\x1b[" in file.getvalue()
    assert "\x1b" not in str(wrong)


def test_the_words_are_those_of_the_field(wrong, right):
    text = wrong.to_html() + str(right)
    for word in ("arithmetic ends", "powers of ten", "elements: elements", "but for -100"):
        assert word not in text


def test_a_loss_that_only_compares_samples_is_not_said_to_clip():
    def run(model, optimizer, batches):
        optimizer.zero_grad()
        z = torch.cat([model.body(x) for x, _ in batches])
        apart = z[:, None] - z[None]
        (apart.square().sum() / len(z) ** 2).backward()
        optimizer.step()

    report = check_step(run, cases.vectors(), build=cases.Build(cases.MLP))
    assert report.ok, str(report)
    assert any(note.startswith("no sample has a gradient alone") for note in report.notes)
    assert "clip" not in str(report)
