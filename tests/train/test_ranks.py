"""Evaluation and training over ranks give the numbers of one process."""

import pytest
import torch

import batchproof as bp
import rank_processes
import rank_training

pytestmark = pytest.mark.ranks


@pytest.mark.parametrize("world", [2, 3])
def test_evaluation_over_ranks_is_that_of_one_process(tmp_path, world):
    by_rank = rank_processes.run("rank_training:estimates", world, tmp_path)
    for seen in by_rank:
        for name, numbers in seen.items():
            _, count = name.split()
            alone = bp.evaluate(
                rank_training.model_of("bare"),
                rank_training.batches(int(count), size=2),
                rank_training.LOSS,
            )
            expected = [alone.value, alone.weight, alone.standard_error]
            expected.append(alone.metrics["sides"].value)
            assert numbers == pytest.approx(expected, rel=1e-12), name
    assert "fsdp 2" in by_rank[0]


@pytest.mark.parametrize(
    ("wrapper", "where"), [("bare", "loss"), ("bare", "loader"), ("fsdp", "loader")]
)
def test_a_rank_that_hangs_in_an_evaluation_is_named(tmp_path, wrapper, where):
    target = "rank_failures:one_hangs_in_evaluation"
    rank_processes.statuses(target, 2, tmp_path, wrapper, where)
    error = (tmp_path / "0.error").read_text()
    assert error.startswith("RankError: rank 1 is alive but did not"), error


def test_a_trainer_over_ranks_ends_where_one_process_does(tmp_path):
    by_rank = rank_processes.run("rank_training:trained", 2, tmp_path)
    model = rank_training.model_of("bare")
    trainer = bp.Trainer(
        model,
        rank_training.LOSS,
        torch.optim.AdamW(model.parameters(), 0.01),
        accumulate=2,
        max_grad_norm=0.5,
        device="cpu",
        progress=False,
        seed=0,
    )
    whole = rank_training.batches(shuffle=True, size=4)
    trainer.fit(whole, rank_training.batches(), max_epochs=3)
    expected = rank_training.flat(model)
    assert len(by_rank[0]) == 6
    for seen in by_rank:
        for parameters in seen.values():
            torch.testing.assert_close(parameters, expected, rtol=1e-10, atol=1e-10)
    for wrapper in ("bare", "ddp", "fsdp"):
        logs = [tmp_path / f"{wrapper} {resumed}" / "metrics.jsonl" for resumed in (False, True)]
        assert logs[0].read_bytes() == logs[1].read_bytes()


def test_loaders_of_a_fit_that_repeat_samples_are_refused(tmp_path):
    for refused in rank_processes.run("rank_training:repeating", 2, tmp_path):
        assert list(refused) == ["validation", "one of several", "training"]
        for name, said in refused.items():
            assert "they would count twice" in said, name


def test_ranks_stop_after_the_same_step_where_one_of_them_or_the_clock_asks_to(tmp_path):
    by_rank = rank_processes.run("rank_training:stopped", 2, tmp_path)
    assert by_rank[0] == by_rank[1]
    assert by_rank[0]["one asks"][0] == "rank 1 had enough"
    assert by_rank[0]["the clock"][0] == "max_time reached (0:00:00.500000)"
    assert by_rank[0]["validated"] == [3, 4, 6, 9]
    assert len(by_rank[0]["kept"]) == 1


def test_a_sharded_checkpoint_is_resumed_on_another_number_of_ranks(tmp_path):
    where = str(tmp_path / "checkpoint")
    saved = rank_processes.run("rank_training:saved", 3, tmp_path / "three", where)[0]
    loaded = rank_processes.run("rank_training:loaded", 2, tmp_path / "two", where)[0]
    for wrapper in ("ddp", "fsdp"):
        torch.testing.assert_close(loaded[f"{wrapper} at once"], saved[wrapper], rtol=0, atol=0)
        # to save before the first step takes none, which Adam would count
        assert saved[f"{wrapper} early"] == 0


def test_what_is_no_sharded_checkpoint_is_refused(tmp_path):
    from batchproof.train import load_sharded

    model = rank_training.model_of("bare")
    with pytest.raises(bp.CheckpointError, match="expected what save_sharded wrote"):
        load_sharded(tmp_path / "none", model, torch.optim.SGD(model.parameters(), 0.1))


def test_one_process_saves_and_loads_shards_too(tmp_path):
    from batchproof.train import load_sharded, save_sharded

    models = [rank_training.model_of("bare") for _ in range(2)]
    optimizers = [torch.optim.AdamW(model.parameters(), 0.01) for model in models]
    bp.Step(models[0], optimizers[0])(list(rank_training.batches()), rank_training.LOSS)
    save_sharded(tmp_path / "one", models[0], optimizers[0])
    load_sharded(tmp_path / "one", models[1], optimizers[1])
    assert torch.equal(rank_training.flat(models[0]), rank_training.flat(models[1]))
    states = [optimizer.state_dict()["state"] for optimizer in optimizers]
    assert torch.equal(states[0][0]["exp_avg"], states[1][0]["exp_avg"])
    assert states[0][0]["step"] == states[1][0]["step"] == 1


def test_a_damaged_checkpoint_of_shards_is_named(tmp_path):
    from batchproof.train import load_sharded, save_sharded

    model = rank_training.model_of("bare")
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    for _ in range(2):
        save_sharded(tmp_path / "one", model, optimizer)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    weights = tmp_path / "one" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(bp.CheckpointError, match=r"weights.safetensors was cut short or altered"):
        load_sharded(tmp_path / "one", model, optimizer)
    assert not optimizer.state
