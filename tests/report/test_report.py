import json
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

import batchproof as bp
import browser
from batchproof.report import read_run, write_report
from batchproof.report._write import _timed
from run_folders import make_run, record


def report(tmp_path, *runs):
    return write_report(list(runs), tmp_path / "report.html").read_text()


def rewrite(run, records, end="\n"):
    (run / "metrics.jsonl").write_text("\n".join(json.dumps(r) for r in records) + end)


def words(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_a_report_of_one_run_shows_its_best_epoch_and_all_sections(tmp_path):
    page = report(tmp_path, make_run(tmp_path / "lenet5"))
    told = words(page)
    # val_loss is 1/epoch + 0.05 max(0, epoch - 3) + 0.1: 0.4333 in epoch 3, 0.4 in 4, 0.4 in 5
    assert "Best: epoch 4, val_loss 0.4 ± 0.01." in told
    for section in ("Result", "Curves", "Exact means", "Time", "Configuration", "Environment"):
        assert f"<h2>{section}" in page
    for part in (
        "val_loss by group",
        "learning rate"[:0] + "lr",
        "throughput",
        "train_loss between",
    ):
        assert part in told


def test_a_report_is_well_formed_and_needs_no_network(tmp_path):
    page = report(tmp_path, make_run(tmp_path / "a"), make_run(tmp_path / "b", shift=0.3))
    ET.fromstring(page[page.index("<main>") : page.index("</body>")])
    assert not re.search(r"https?://|src=|@import|url\(|<link|<script", page)


def test_the_same_runs_give_the_same_page(tmp_path):
    run = make_run(tmp_path / "a")
    assert report(tmp_path, run) == report(tmp_path, run)


def test_the_number_is_the_pooled_pair_and_not_the_mean_of_batch_means(tmp_path):
    run = make_run(tmp_path / "a", epochs=1)
    rewrite(run, [record(3, 1, "val_loss", 6.0, 4.0, mean_of_batch_means=1.75)])
    told = words(report(tmp_path, run))
    assert "val_loss 1 1.5 1.75 0.25" in told
    assert "epoch 1, val_loss 1.5." in told


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (0.01, "they differ by more than their standard errors"),
        (0.2, "they differ by no more than their standard errors"),
        (None, "their standard errors are not known"),
    ],
)
def test_best_and_runner_up_are_told_apart_by_their_standard_errors(tmp_path, error, verdict):
    run = make_run(tmp_path / "a", epochs=2)
    rewrite(
        run,
        [
            record(1, 1, "val_loss", 50.0, 100.0, standard_error=error),
            record(2, 2, "val_loss", 40.0, 100.0, standard_error=error),
        ],
    )
    assert verdict in report(tmp_path, run)


def test_several_runs_are_compared_and_the_best_is_named(tmp_path):
    worse, better = make_run(tmp_path / "worse", shift=0.5), make_run(tmp_path / "better", lr=0.2)
    told = words(report(tmp_path, worse, better))
    assert "2 runs compared. Best: better, epoch 4, val_loss 0.4 ± 0.01." in told
    assert "Of these runs better is the best" in told
    assert "worse the runner-up" in told
    # what differs comes first in the configuration
    assert told.index("settings.lr") < told.index("recipe lenet5")


def test_a_run_that_is_monitored_for_its_largest_value_is_ranked_so(tmp_path):
    run = make_run(tmp_path / "a")
    config = {"settings": {"monitor": "val_accuracy", "mode": "max"}}
    (run / "config.json").write_text(json.dumps(config))
    assert "Best: epoch 5, val_accuracy 0.88" in report(tmp_path, run)


def test_entries_of_the_user_are_not_taken_for_settings(tmp_path):
    run = make_run(tmp_path / "a")
    own = {"monitor": "train_loss", "mode": "max"}
    settings = {"monitor": "val_accuracy", "mode": "max"}
    config = {"config": own, "info": own, "identity": {"settings": settings, "config": own}}
    (run / "config.json").write_text(json.dumps(config))
    assert "Best: epoch 5, val_accuracy 0.88" in report(tmp_path, run)


def test_runs_monitored_for_different_means_are_not_ranked(tmp_path):
    one, two = make_run(tmp_path / "one"), make_run(tmp_path / "two")
    (two / "config.json").write_text(json.dumps({"monitor": "val_accuracy", "mode": "max"}))
    told = words(report(tmp_path, one, two))
    assert "They were monitored for different means, so they are not ranked." in told
    assert "Of these runs" not in told


def on_data(run, *, name=None, samples=None, digest=None):
    config = json.loads((run / "config.json").read_text())
    config["info"] = {"data": name}
    config["identity"] = {"validation data": {"samples": samples, "digest": digest}}
    (run / "config.json").write_text(json.dumps(config))
    return run


@pytest.mark.parametrize(
    ("one", "other", "sentence"),
    [
        (
            {"name": "MNIST", "samples": 6000},
            {"name": "digits", "samples": 143},
            "one: MNIST, 6,000 samples; two: digits, 143 samples.",
        ),
        ({"name": "MNIST"}, {"name": "Fashion-MNIST"}, "one: MNIST; two: Fashion-MNIST."),
        ({"samples": 5}, {"samples": 6}, "one: 5 samples; two: 6 samples."),
        ({"digest": "a"}, {"digest": "b"}, "one: unknown; two: unknown."),
    ],
)
def test_runs_of_different_data_are_not_ranked(tmp_path, one, other, sentence):
    runs = on_data(make_run(tmp_path / "one"), **one), on_data(make_run(tmp_path / "two"), **other)
    told = words(report(tmp_path, *runs))
    assert f"measured on different data, so they are not ranked. {sentence}" in told
    assert "Of these runs" not in told


def test_runs_of_the_same_data_or_of_unknown_data_are_ranked(tmp_path):
    known = on_data(make_run(tmp_path / "one"), name="MNIST", samples=6000)
    same = on_data(make_run(tmp_path / "two"), name="MNIST", samples=6000)
    assert "Of these runs" in report(tmp_path, known, same)
    assert "Of these runs" in report(tmp_path, known, make_run(tmp_path / "three"))


def test_folders_of_one_name_are_told_apart_by_their_path(tmp_path):
    one, two = make_run(tmp_path / "x" / "run"), make_run(tmp_path / "y" / "run")
    page = report(tmp_path, one, two)
    assert str(one) in page
    assert str(two) in page


def test_a_folder_of_runs_gives_the_runs_in_it(tmp_path):
    for name in ("scratch", "concise"):
        make_run(tmp_path / "both" / name)
    (tmp_path / "both" / "notes").mkdir()
    assert "<h1>batchproof: concise, scratch</h1>" in report(tmp_path, tmp_path / "both")


def test_a_run_without_groups_has_no_empty_chart_of_them(tmp_path):
    plain = make_run(tmp_path / "plain")
    kept = [json.loads(line) for line in (plain / "metrics.jsonl").read_text().splitlines()]
    rewrite(plain, [values for values in kept if "/" not in values["name"]])
    told = words(report(tmp_path, plain, make_run(tmp_path / "grouped")))
    assert "val_loss by group, grouped" in told
    assert "val_loss by group, plain" not in told


@pytest.mark.parametrize(("step", "known"), [(300, [1, 2, 3, 4, 5]), (350, [1, 2, 3, 5])])
def test_an_epoch_in_which_a_run_went_on_has_no_throughput(tmp_path, step, known):
    run = make_run(tmp_path / "a")
    lines = (run / "timing.jsonl").read_text().splitlines()
    lines.insert(3, json.dumps({"resumed at step": step, "python": "3.11"}))
    (run / "timing.jsonl").write_text("\n".join(lines))
    assert [point.epoch for point, _ in _timed(read_run(run))] == known


def test_only_metrics_are_needed(tmp_path):
    run = make_run(tmp_path / "a")
    (run / "timing.jsonl").unlink(), (run / "config.json").unlink()
    page = report(tmp_path, run)
    assert "<h2>Time" not in page
    assert "<h2>Configuration" not in page


def test_a_last_line_cut_short_is_left_out(tmp_path):
    run = make_run(tmp_path / "a")
    whole = report(tmp_path, run)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 501, "epo')
    assert report(tmp_path, run) == whole


def test_throughput_is_of_training_alone(tmp_path):
    run = make_run(tmp_path / "a", epochs=1)
    # 6400 samples in 2.1 seconds, of which 0.3 for validation and 0.05 for the checkpoint
    assert f"training: {6400 / 1.75:.6g} at 1" in report(tmp_path, run)


def test_without_samples_throughput_is_in_the_unit_of_the_loss(tmp_path):
    run = make_run(tmp_path / "a", epochs=1)
    rewrite(run, [record(100, 1, "train_loss", 1.0, 175.0)])
    page = report(tmp_path, run)
    assert "elements per second" in page
    assert "training: 100 at 1" in page


def test_the_time_that_no_part_accounts_for_is_shown(tmp_path):
    told = words(report(tmp_path, make_run(tmp_path / "a", epochs=1)))
    assert "step 1.2 s (57%)" in told
    assert "other 0.25 s (12%)" in told


def test_configuration_is_told_one_value_a_line(tmp_path):
    run = make_run(tmp_path / "a", epochs=1)
    config = {"a": None, "optimizer": {"groups": [{"lr": 0.1}, {"lr": 0.2}]}, "command": ["x", "y"]}
    config["weights"] = {str(i): i for i in range(100)}
    (run / "config.json").write_text(json.dumps(config))
    told = words(report(tmp_path, run))
    for line in ("optimizer.groups.0.lr 0.1", "optimizer.groups.1.lr 0.2", "command x y"):
        assert line in told
    assert "weights 100 entries" in told
    assert "null" not in told


def test_what_a_run_says_is_escaped(tmp_path):
    run = make_run(tmp_path / "<script>alert(1)<", epochs=2)
    evil = '"><script>alert("1")</script>'
    rewrite(run, [record(1, 1, evil, 1.0, 1.0), record(1, 1, "val_loss", 1.0, 1.0, unit=evil)])
    (run / "config.json").write_text(json.dumps({evil: evil}))
    assert "<script" not in report(tmp_path, run)


def test_texts_of_any_characters_are_written(tmp_path):
    run = make_run(tmp_path / "a", epochs=1)
    odd = "\ud800 \x00 \x1b[31m \u202e \u200cनमस्ते"
    rewrite(run, [record(1, 1, "val_loss", 1.0, 1.0, unit=odd), record(1, 1, odd, 1.0, 1.0)])
    (run / "config.json").write_text(json.dumps({odd: odd}))
    page = report(tmp_path, run)
    assert r"\ud800 \x00 \x1b[31m \u202e" in page
    assert "\u200cनमस्ते" in page


@pytest.mark.parametrize("value", [1e308, -1.7e308, 5e-324, 1e-300, 0.0])
def test_numbers_at_the_ends_of_float64_have_a_page(tmp_path, value):
    run = make_run(tmp_path / "a", epochs=3)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for key in ("total", "weight", "standard_error", "mean_of_batch_means"):
        changed = [line | {key: value if line["step"] > 100 else line.get(key)} for line in lines]
        rewrite(run, changed)
        assert not re.search(r' (cx|cy|x|y|d)="[^"]*(nan|inf)', report(tmp_path, run))


def test_values_that_are_not_finite_are_drawn_around(tmp_path):
    run = make_run(tmp_path / "a")
    rewrite(
        run,
        [
            record(1, 1, "val_loss", None, 4.0),
            record(2, 2, "val_loss", 4.0, 4.0, standard_error=None),
            record(3, 3, "val_loss", 0.0, 0.0),
        ],
    )
    page = report(tmp_path, run)
    assert "epoch 2, val_loss 1." in page
    assert not re.search(r'(cx|cy|x|y|d)="[^"]*nan', page)


def test_a_run_without_any_finite_value_still_has_a_report(tmp_path):
    run = make_run(tmp_path / "a")
    rewrite(run, [record(1, 1, "val_loss", None, 4.0)])
    assert "No finite val_loss" in report(tmp_path, run)


def test_long_logs_are_pooled_exactly(tmp_path):
    run = make_run(tmp_path / "a", epochs=1)
    steps = [record(i, 1, "train_loss", float(i), 2.0, span="steps") for i in range(1, 1001)]
    rewrite(run, [*steps, record(1000, 1, "train_loss", 3.0, 2.0)])
    from batchproof.report._curves import _pooled

    pooled = _pooled([p for p in read_run(run).records if p.span == "steps"])
    assert len(pooled) == 200
    assert math.fsum(p.total for p in pooled) == sum(range(1, 1001))
    assert pooled[0].value == (1 + 2 + 3 + 4 + 5) / 10
    report(tmp_path, run)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            lambda run: (run / "metrics.jsonl").unlink(),
            "has no metrics.jsonl; give a folder that training made",
        ),
        (lambda run: (run / "metrics.jsonl").write_text(""), "holds no record over an epoch"),
        (lambda run: (run / "metrics.jsonl").write_text("{\n{}\n"), "line 1 of .*is not a record"),
        (lambda run: (run / "metrics.jsonl").write_text('{"step": 1}\n'), "is not a record"),
        (lambda run: (run / "metrics.jsonl").write_bytes(b"\xff\xfe\n"), "line 1 .*utf-8"),
        (lambda run: (run / "timing.jsonl").write_text("[1]\n"), "line 1 of .*is not a record"),
        (lambda run: (run / "config.json").write_text("[1]"), "holds no JSON object"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(tmp_path, break_it, message):
    run = make_run(tmp_path / "a")
    break_it(run)
    with pytest.raises(bp.RunFolderError, match=message) as refused:
        report(tmp_path, run)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "report.html").exists()


def test_a_missing_folder_and_no_folder_are_refused(tmp_path):
    with pytest.raises(bp.RunFolderError, match="nowhere does not exist"):
        report(tmp_path, tmp_path / "nowhere")
    with pytest.raises(bp.SettingError, match="no run folder was given"):
        report(tmp_path)


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path):
    run = make_run(tmp_path / "a")
    with pytest.raises(bp.RunFolderError, match="cannot be written"):
        write_report([run], tmp_path / "no" / "report.html")
    (tmp_path / "taken").mkdir()
    with pytest.raises(bp.RunFolderError, match="cannot be written"):
        write_report([run], tmp_path / "taken")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "taken"]


def test_a_report_fits_a_telephone(tmp_path):
    page = report(tmp_path, make_run(tmp_path / "a"), make_run(tmp_path / "b", shift=0.3))
    (seen,) = browser.looked_at([page], tmp_path)
    assert seen["svgs"] >= 8
    browser.expect_readable(seen)


def test_a_report_is_seen(tmp_path):
    picture = browser.screenshot(report(tmp_path, make_run(tmp_path / "a")), tmp_path)
    assert picture.stat().st_size > 30_000


def test_importing_report_loads_no_torch():
    code = "import sys, batchproof.report, batchproof.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
