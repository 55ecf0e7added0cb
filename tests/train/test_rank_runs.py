"""Runs over ranks that are killed, stopped or damaged go on, also by another number of ranks."""

import json
import shutil

import pytest
import torch

import batchproof as bp
import rank_processes
import rank_runs
import rank_training
from batchproof.train import RunFolder

pytestmark = pytest.mark.ranks


def log_of(run):
    return (run / "metrics.jsonl").read_bytes()


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Runs of two ranks, and what each rank saw of them."""
    folder = tmp_path_factory.mktemp("together")
    return folder, rank_processes.run("rank_runs:together", 2, folder)


@pytest.fixture
def sharded(together, tmp_path):
    """A copy of a run of two ranks over two epochs, sharded, and what rank 0 saw of it."""
    folder, seen = together
    shutil.copytree(folder / "fsdp whole", tmp_path / "run")
    return tmp_path / "run", seen[0]["seen"]["fsdp"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run of which a rank was killed within its second epoch."""
    return run_killed(tmp_path_factory.mktemp("killed"), "step")


def run_killed(folder, where):
    assert rank_processes.statuses("rank_runs:killed", 2, folder, where, seconds=200)[1] == -9
    assert "rank 1 is gone" in (folder / "0.err").read_text()
    return folder / where


def test_ranks_stop_for_a_signal_to_one_of_them_after_the_same_step_and_resume_alike(together):
    folder, seen = together
    for wrapper in rank_runs.SHARED:
        for by_rank in seen:
            said = by_rank["signalled"][wrapper]
            assert "interrupted by SIGTERM after step 4; saved in" in said
        assert log_of(folder / f"{wrapper} cut") == log_of(folder / f"{wrapper} whole")


@pytest.mark.parametrize("wrapper", rank_runs.SHARED)
def test_a_signal_during_validation_is_obeyed_by_all_ranks_without_its_end(together, wrapper):
    folder, seen = together
    for rank, by_rank in enumerate(seen):
        to_all, to_one = by_rank["told"][wrapper]
        assert "interrupted by SIGTERM after step 3; saved in" in to_all[0]
        assert to_all[1] == 2
        assert "interrupted by SIGTERM after step 3; saved in" in to_one[0]
        # replicas draw what they have; ranks of a sharded model run it equally often
        assert to_one[1] == (2 if rank == 1 or wrapper == "fsdp" else to_one[2])
    for ranks in ("01", "1"):
        assert log_of(folder / f"{wrapper} told {ranks}") == log_of(folder / f"{wrapper} untold")


def test_running_statistics_that_each_rank_has_of_its_own_are_resumed(together):
    folder, seen = together
    assert "after step 4" in seen[1]["normed"]
    assert log_of(folder / "normed cut") == log_of(folder / "normed whole")


def test_an_average_of_weights_in_shards_is_that_of_whole_ones(together):
    ours, theirs = (seen["best"] for seen in together[1][0]["seen"].values())
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-10, atol=1e-10)


def test_a_rank_that_cannot_write_its_shards_stops_all_with_what_was_saved_whole(together):
    folder, seen = together
    for by_rank in seen:
        assert "no space left on device (on rank 1)" in by_rank["full"].lower()
    assert RunFolder(folder / "full").weights("last")


def test_a_dry_run_over_ranks_tries_everything_and_keeps_nothing(together):
    folder, seen = together
    for by_rank in seen:
        assert ["bytes saved and loaded" in said for said in by_rank["tried"]] == [True] * 3
    assert not (folder / "tried").exists()


@pytest.mark.parametrize("where", ["step", "checkpoint"])
def test_a_sharded_run_of_which_a_rank_was_killed_resumes_to_the_same_log(
    sharded, killed, where, tmp_path
):
    run = tmp_path / where
    if where == "step":
        shutil.copytree(killed, run)
    else:
        run_killed(tmp_path, where)
    options = json.dumps({"epochs": 2, "checkpoint_every_steps": 2})
    seen = rank_processes.run("rank_runs:resumed", 2, tmp_path, str(run), "fsdp", options)[0]
    assert log_of(run) == log_of(sharded[0])
    assert torch.equal(seen["parameters"], sharded[1]["parameters"])


def test_each_rank_has_written_its_own_shards(sharded):
    for folder in ("best", "last", "previous"):
        assert len(list((sharded[0] / folder / "shards").iterdir())) == 2


def test_the_best_weights_are_read_whole_by_one_process(sharded):
    run, seen = sharded
    weights = RunFolder(run).weights()
    assert weights.keys() == seen["best"].keys()
    assert all(torch.equal(weights[name], seen["best"][name]) for name in weights)
    model = rank_runs.dropping("bare")
    model.load_state_dict(weights)
    found = bp.evaluate(model, rank_training.batches(), rank_training.LOSS)
    assert found.value == pytest.approx(RunFolder(run).best().value, rel=1e-12)


def test_one_process_resumes_what_two_sharded(sharded):
    run, seen = sharded
    found = rank_runs.fit(run, "bare", epochs=2)
    for name in ("parameters", "moments"):
        assert torch.equal(found[name], seen[name])
    assert found["estimate"] == pytest.approx(seen["estimate"], rel=1e-12)
    assert found["notices"] == [
        "2 ranks made the checkpoint and 1 resume it: with generators seeded again."
    ]
    longer = [rank_runs.fit(run, "bare", epochs=3) for _ in range(2)]
    assert [len(each["notices"]) for each in longer] == [1, 0]
    assert max(record.epoch for record in RunFolder(run).records()) == 3


def test_three_ranks_resume_what_two_sharded_and_two_what_one_wrote(sharded, tmp_path):
    run, seen = sharded
    options = json.dumps({"epochs": 2})
    target = ("rank_runs:resumed", 3, tmp_path / "3", str(run), "fsdp", options)
    for found in rank_processes.run(*target):
        for name in ("parameters", "moments"):
            assert torch.equal(found[name], seen[name])
    alone = rank_runs.fit(run, "bare", epochs=3)
    options = json.dumps({"epochs": 3})
    target = ("rank_runs:resumed", 2, tmp_path / "2", str(run), "fsdp", options)
    for found in rank_processes.run(*target):
        for name in ("parameters", "moments"):
            assert torch.equal(found[name], alone[name])


def test_an_epoch_under_way_begins_again_where_other_ranks_resume(killed, tmp_path):
    shutil.copytree(killed, tmp_path / "run")
    found = rank_runs.fit(tmp_path / "run", "bare", epochs=2, checkpoint_every_steps=2)
    (notice,) = found["notices"]
    assert notice.endswith("with generators seeded again, and epoch 2 from its beginning.")
    last = [r for r in RunFolder(tmp_path / "run").records() if r.name == "train_loss"][-1]
    assert last.weight == 2 * rank_training.SAMPLES


@pytest.mark.parametrize("damage", ["cut short", "altered", "missing"])
def test_a_damaged_shard_is_named_and_the_checkpoint_before_is_used(sharded, damage):
    run, _ = sharded
    shard = sorted((run / "last" / "shards").iterdir())[1]
    data = bytearray(shard.read_bytes())
    data[-3] ^= 1
    shard.write_bytes(data[:-20] if damage == "cut short" else data)
    if damage == "missing":
        shard.unlink()
    notices = rank_runs.fit(run, "bare", epochs=2)["notices"]
    assert notices[0].startswith(str(shard))
    assert f"; resuming from {run / 'previous'}, made at step 3." in notices[0]
