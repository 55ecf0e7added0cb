"""What the pages of mistakes over ranks say that check says."""

import pytest

import batchproof as bp
import rank_mistakes as code
from batchproof.check._measure._ranks import kept_ranks

pytestmark = pytest.mark.ranks


@pytest.fixture(autouse=True, scope="module")
def _one_pair_of_processes():
    with kept_ranks():
        yield


def test_a_gradient_divided_by_the_world_size_is_named():
    report = bp.check_step(
        code.divided_twice,
        code.samples,
        build=code.build,
        cuts=["halves", "ranks-2-even", "ranks-2-uneven"],
        ranks=(1, 2),
        wrap="ddp",
    )
    assert "world-size-factor" in report.names


def test_samples_that_a_sampler_repeats_are_named():
    report = bp.check_evaluate(
        code.padded_sampler,
        code.samples,
        build=code.build_model,
        cuts=["halves", "ranks-2-all", "ranks-2-all-but-one"],
        ranks=(1, 2),
        shards="own",
    )
    assert "duplicated-samples" in report.names
