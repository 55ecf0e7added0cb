"""Ranks that die, hang, raise or differ: every other one ends in time and names the cause."""

import re
import threading
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import rank_processes
from batchproof import RankError, SettingError
from batchproof.ranks import Watch
from batchproof.ranks._launch import place_of
from batchproof.ranks._watch import CAUSE, LOOKING, is_broken_collective
from batchproof.step import distributed_group
from batchproof.step._ranks._layout import mark_of, ranks_named

ranks = pytest.mark.ranks


def errors_of(folder, world, target, *arguments, seconds=120):
    statuses = rank_processes.statuses(
        f"rank_failures:{target}", world, folder, *arguments, seconds=seconds
    )
    texts = [folder / f"{rank}.error" for rank in range(world)]
    return statuses, [text.read_text() if text.exists() else "" for text in texts]


@ranks
@pytest.mark.parametrize("wrapper", ["bare", "ddp"])
def test_a_rank_that_raises_is_named_by_every_other_with_its_cause(tmp_path, wrapper):
    _, errors = errors_of(tmp_path, 3, "one_raises", wrapper)
    assert errors[1] == "ValueError: the label 7 is out of range"
    for rank in (0, 2):
        assert errors[rank].startswith(
            "RankError: rank 1 raised ValueError: the label 7 is out of range; "
        )
        assert "\n" not in errors[rank]


@ranks
def test_rank_0_which_keeps_the_store_is_named_with_its_cause_too(tmp_path):
    _, errors = errors_of(tmp_path, 2, "one_raises", "bare", "0")
    assert errors[1].startswith("RankError: rank 0 raised ValueError: the label 7 is out of range")


@ranks
def test_a_rank_that_closes_a_window_without_a_pass_through_the_wrapper_is_refused(tmp_path):
    _, errors = errors_of(tmp_path, 2, "one_passes_nothing")
    said = "SettingError: apply() has no window to close on rank 1"
    assert errors[1].startswith(said)
    assert errors[0].startswith(f"RankError: rank 1 raised {said}")


@ranks
def test_a_rank_that_is_killed_is_named_by_every_other(tmp_path):
    statuses, errors = errors_of(tmp_path, 3, "one_is_killed")
    assert statuses[1] == -9
    for rank in (0, 2):
        assert errors[rank].startswith("RankError: rank 1 is gone without an error")


@ranks
def test_a_rank_that_hangs_is_named_after_the_time_limit(tmp_path):
    _, errors = errors_of(tmp_path, 2, "one_hangs")
    assert "rank 1 is alive but did not join within the group's time limit" in errors[0]


@ranks
@pytest.mark.parametrize(
    ("wrapper", "which", "where"),
    [
        ("bare", "2", "before"),
        ("ddp", "1", "before"),
        ("ddp", "3", "after"),
        ("fsdp", "2", "before"),
        ("fsdp", "3", "after"),
    ],
)
def test_a_rank_that_hangs_in_a_micro_batch_is_named_and_no_other(tmp_path, wrapper, which, where):
    _, errors = errors_of(tmp_path, 3, "one_hangs_in_a_micro_batch", wrapper, which, where)
    said = "RankError: rank 1 is alive but did not join within the group's time limit"
    for rank in (0, 2):
        assert errors[rank].startswith(said)


@ranks
@pytest.mark.parametrize("wrapper", ["ddp", "fsdp"])
def test_a_rank_that_hangs_in_the_last_backward_pass_is_named(tmp_path, wrapper):
    _, errors = errors_of(tmp_path, 3, "one_hangs_in_the_last_backward_pass", wrapper)
    said = "RankError: rank 1 is alive but did not join within the group's time limit;"
    for rank in (0, 2):
        assert errors[rank].startswith(said)


OWN = "RankError: the model or the loss makes collectives of its own, such as all_reduce"


@ranks
@pytest.mark.parametrize("wrapper", ["bare", "ddp"])
@pytest.mark.parametrize("windows", [("42",), ("22", "20")])
def test_a_model_with_collectives_of_its_own_over_unequal_windows_is_refused(
    tmp_path, wrapper, windows
):
    statuses, errors = errors_of(tmp_path, 2, "models_speak", wrapper, "0", "60", *windows)
    assert statuses == [0, 0]
    one, two = windows[-1]
    assert all(error.startswith(OWN) for error in errors)
    assert all(f"rank 0 has {one}, rank 1 has {two}." in error for error in errors)


@ranks
@pytest.mark.parametrize("wrapper", ["bare", "ddp"])
def test_a_loss_with_collectives_of_its_own_over_unequal_windows_is_refused(tmp_path, wrapper):
    statuses, errors = errors_of(tmp_path, 2, "losses_speak", wrapper)
    assert statuses == [0, 0]
    assert all(error.startswith(OWN) for error in errors)


@ranks
@pytest.mark.parametrize("wrapper", ["bare", "ddp"])
def test_a_model_with_collectives_of_its_own_trains_over_equal_windows(tmp_path, wrapper):
    windows = ("22", "33", "11", "22")
    statuses, errors = errors_of(tmp_path, 2, "models_speak", wrapper, "1", "60", *windows)
    assert statuses == [0, 0]
    assert errors == ["", ""]


@ranks
@pytest.mark.parametrize("windows", [("22", "22", "32"), ("22", "22", "20"), ("20",)])
def test_a_model_that_begins_with_them_in_an_unequal_window_ends_in_an_error(tmp_path, windows):
    silent = str(4 if len(windows) > 1 else 0)
    statuses, errors = errors_of(tmp_path, 2, "models_speak", "ddp", silent, "4", *windows)
    assert statuses == [0, 0]
    late = "RankError: rank [01] is alive but did not join within the group's time limit, or waits "
    assert all(re.match(late + "in a collective that the model or the loss", e) for e in errors)


@ranks
def test_an_evaluation_with_collectives_over_unequal_batches_ends_in_an_error(tmp_path):
    statuses, errors = errors_of(tmp_path, 2, "evaluations_speak")
    assert statuses == [0, 0]
    assert all(error.startswith("RankError: ") for error in errors)


@ranks
@pytest.mark.parametrize("statistics", ["statistics", "none"])
@pytest.mark.parametrize("more", [0, 1])
def test_ranks_that_call_backward_unequally_often_are_refused_at_once(tmp_path, statistics, more):
    statuses, errors = errors_of(tmp_path, 2, "called_unequally", statistics, str(more))
    assert statuses == [0, 0]
    counts = ["2 times on rank 0", "2 times on rank 1"]
    counts[more] = f"3 times or more on rank {more}"
    said = f"RankError: backward(mean) was called {counts[0]}, {counts[1]}; "
    assert all(error.startswith(said) for error in errors)


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    """What each of three ranks raised where all raise alike, by case."""
    return rank_processes.run("rank_failures:all_raise", 3, tmp_path_factory.mktemp("alike"))


@ranks
@pytest.mark.parametrize(
    ("what", "shown"),
    [
        ("model", r"rank 0 has bias \(1,\) .*, rank 1 has nothing more"),
        ("seed", r"rank 0 has weight .* values .*, rank 1 has weight .* values"),
        ("setting", r"rank 0 has max_grad_norm None, rank 1 has max_grad_norm 1.0"),
        ("unit", r"rank 0 returns 'loss' over 'element', rank 1 'loss' over 'sample'"),
        ("term", r"rank 0 returns 'loss' over 'element', rank 1 'other' over 'element'"),
    ],
)
def test_ranks_that_differ_are_refused_at_the_start_with_both_shown(alike, what, shown):
    for raised in alike:
        error = raised[f"one_differs {what}"]
        assert error.startswith("RankError")
        assert re.search(shown, error)


@ranks
@pytest.mark.parametrize("wrapper", ["bare", "ddp"])
def test_a_loss_that_is_not_finite_on_one_rank_holds_back_all(alike, wrapper):
    errors = [raised[f"one_is_not_finite {wrapper}"] for raised in alike]
    assert all(error.startswith("NonFiniteError: step 1: ") for error in errors)
    assert "term 'loss' is nan in micro-batch 2 of 2 on rank 1" in errors[1]
    for rank in (0, 2):
        assert "the loss is not finite on rank 1" in errors[rank]


@ranks
def test_ranks_that_accumulate_otherwise_are_refused_with_both_shown(alike):
    for raised in alike:
        error = raised["one_accumulates_otherwise"]
        assert error.startswith("RankError: accumulate is 3 on rank 0 and 2 on rank 1; ")


@ranks
def test_several_terms_over_ranks_need_their_weights_counted(alike):
    for raised in alike:
        error = raised["several_terms_uncounted"]
        assert error.startswith("MissingCountError: the objective has 2 terms (one, two)")


@ranks
def test_an_optimiser_with_a_closure_over_shards_is_refused(alike):
    for raised in alike:
        error = raised["a_closure_over_shards"]
        assert error.startswith("SettingError: LBFGS takes products over all parameters at once")


@pytest.mark.parametrize("missing", ["MASTER_ADDR", "MASTER_PORT", "RANK"])
def test_an_environment_that_is_not_whole_says_what_is_missing(missing):
    whole = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "host", "MASTER_PORT": "1"}
    part = {name: value for name, value in whole.items() if name != missing}
    with pytest.raises(SettingError, match=f"WORLD_SIZE is 2 but {missing} is not set"):
        place_of(part)


def test_a_rank_outside_the_world_is_refused():
    whole = {"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "host", "MASTER_PORT": "1"}
    with pytest.raises(SettingError, match="RANK is '2'"):
        place_of(whole)


@pytest.mark.parametrize("port", ["abc", "-1", "65536"])
def test_a_port_that_is_none_is_refused(port):
    whole = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "host", "MASTER_PORT": port}
    with pytest.raises(SettingError, match=f"MASTER_PORT is '{port}'; expected a port"):
        place_of(whole)


def test_ranks_that_do_not_meet_say_where_and_for_how_long(monkeypatch):
    port = str(rank_processes.free_port())
    place = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    expected = rf"rank 1 of 2 did not meet the others at 127\.0\.0\.1:{port} within 1 s \("
    with pytest.raises(RankError, match=expected), distributed_group("cpu", timeout=1.0):
        pass


def test_an_environment_without_world_size_is_one_process():
    assert place_of({"WORLD_SIZE": ""}).world_size == 1
    assert place_of({}).world_size == 1
    assert place_of({"WORLD_SIZE": "1"}).rank == 0


@pytest.mark.parametrize("size", [1, 2, 53, 54, 10_000])
def test_each_rank_is_known_by_its_own_mark(size):
    for rank in range(size):
        assert ranks_named(mark_of(rank, size), size) == f"rank {rank}"
    assert ranks_named(0.0, size) == ""


@pytest.mark.parametrize("size", [2, 53, 54, 10_000, 200_000])
def test_marks_add_exactly_over_all_ranks_in_any_order(size):
    marks = torch.tensor([mark_of(rank, size) for rank in range(size)], dtype=torch.float64)
    whole = sum(int(mark) for mark in marks.tolist())
    orders = [marks, marks.flip(0), marks[torch.randperm(size)]]
    assert [int(order.cumsum(0)[-1]) for order in orders] == [whole] * 3
    assert whole < 2**53
    if size > 53:
        assert ranks_named(float(whole), size) == f"{size} of {size} ranks"


@given(st.data())
def test_of_many_ranks_one_is_named_and_several_are_counted(data):
    size = data.draw(st.integers(54, 10_000))
    bad = data.draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=20))
    total = sum(mark_of(rank, size) for rank in bad)
    expected = f"rank {min(bad)}" if len(bad) == 1 else f"{len(bad)} of {size} ranks"
    assert ranks_named(total, size) == expected


class Store(dict):
    """A store of one process, with the methods that a watch uses."""

    def set(self, key, value):
        self[key] = value.encode()

    def check(self, keys):
        return all(key in self for key in keys)

    def get(self, key):
        return self[key]

    def compare_set(self, key, expected, value):
        if self.get_or(key) == expected:
            self.set(key, value)
        return self[key]

    def get_or(self, key):
        return self[key].decode() if key in self else ""


def test_the_first_cause_is_kept():
    store = Store()
    Watch(store, 1, 3).report(ValueError("first"))
    Watch(store, 2, 3).report(KeyError("second"))
    told = Watch(store, 0, 3, interval=0.01).explain(RuntimeError("gloo"))
    assert str(told).startswith("rank 1 raised ValueError: first; rank 0 ends with it")


class SlowStore(Store):
    """The cause comes when it has been asked for a few times."""

    def check(self, keys):
        self["asked"] = self.get("asked") + 1 if "asked" in self else 1
        if self["asked"] == 4:
            self.set(CAUSE, "rank 2 is gone")
        return super().check(keys)


def test_one_rank_looks_and_the_others_wait_for_what_it_finds():
    # no heartbeat is in the store: to look for one would name every other rank
    store = SlowStore({LOOKING: b"1"})
    told = Watch(store, 0, 10_000, interval=0.01).explain(RuntimeError("gloo"))
    assert str(told).startswith("rank 2 is gone; rank 0 ends with it")
    assert store[LOOKING] == b"1"


class SilentStore(Store):
    """It is there and never answers, as on a machine that has been stopped."""

    def check(self, *_):
        threading.Event().wait()  # in a thread that the interpreter does not wait for

    compare_set = get = check


def test_a_store_that_is_silent_keeps_no_rank_waiting(monkeypatch):
    monkeypatch.setattr(Watch, "_patience", lambda _: 0.1)
    watch = Watch(SilentStore(), 1, 3, interval=0.01)
    watch.report(ValueError("nobody hears it"))
    told = str(watch.explain(RuntimeError("gloo")))
    assert told.startswith("rank 0, which keeps the ranks' store, does not answer; rank 1 ends")


class GoneStore(Store):
    def check(self, *_):
        msg = "Broken pipe"
        raise RuntimeError(msg)

    compare_set = get = check


def test_a_cause_that_was_heard_is_known_when_the_store_is_gone(monkeypatch):
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    store = Store()
    watch = Watch(store, 1, 2, interval=0.01)
    watch.begin()
    Watch(store, 0, 2).report(ValueError("first"))
    time.sleep(0.2)
    watch.end()
    watch.store = GoneStore()
    assert str(watch.explain(RuntimeError("gloo"))).startswith("rank 0 raised ValueError: first; ")


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("[/third_party/gloo/gloo/transport/tcp/pair.cc:537] Connection closed by peer", True),
        ("Application timeout caused pair closure", True),
        ("DataLoader timed out after 5 seconds", False),
        ("connection reset by peer while reading a sample", False),
    ],
)
def test_an_error_of_the_users_own_is_no_broken_collective(text, is_one):
    assert is_broken_collective(RuntimeError(text)) == is_one


def test_ranks_whose_life_has_stopped_are_gone():
    store = Store({f"batchproof/beat/{rank}": b"5 3 1" for rank in range(3)})
    told = Watch(store, 0, 3, interval=0.01).explain(RuntimeError("gloo"))
    assert str(told).startswith("rank 1 and rank 2 is gone")


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (["3 7", "3 6", "3 7"], "rank 1 is alive but did not join within the group's time limit;"),
        (["4 7", "3 6", "4 7"], "rank 1 is alive but did not join within the group's time limit;"),
        (["4 7", "3 7", "4 7"], "rank 1 is alive but .* time limit, or waits in a collective"),
        (["4 0", "3 0", "4 0"], "rank 1 is alive but did not join within the group's time limit;"),
        (["3 7", "3 7", "3 7"], "a collective failed: gloo;"),
    ],
)
def test_the_rank_that_came_least_far_is_late(monkeypatch, places, said):
    beats = iter([{rank: f"{count} {at}" for rank, at in enumerate(places)} for count in (1, 2)])
    monkeypatch.setattr("batchproof.ranks._watch._beats", lambda *_: next(beats))
    told = Watch(Store(), 0, 3, interval=0.01).explain(RuntimeError("gloo"))
    assert re.match(said, str(told))
