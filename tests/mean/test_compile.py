"""Compiled in a process of its own, where no shape checker stands in the graph's way."""

import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent.parent / "support"

SCRIPT = """
import sys
import torch
from cases import CASES
import batchproof as bp

def graph(function):
    torch.compiler.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager")

def expect_same(function, inputs, leaves):
    ours, plain = graph(function)(*inputs), function(*inputs)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    pair = [torch.autograd.grad(loss, leaves) for loss in (ours, plain)]
    torch.testing.assert_close(*pair, rtol=1e-12, atol=1e-12)

by_name = {case.name: case for case in CASES}
for name in ("cross-entropy-weights-ignored-smooth", "mse", "bce-logits", "triplet-margin"):
    case = by_name[name]
    inputs, exact = case.draw(6), bp.exact(case.criterion())
    leaves = [inputs[index] for index in case.leaves]
    expect_same(lambda *inputs: exact(*inputs).value(), inputs, leaves)
    print(name)

logits, target = by_name["cross-entropy-ignored"].draw(6)
mask, weight = torch.rand(6, 4) > 0.3, torch.rand(6)
exact = bp.exact(torch.nn.functional.cross_entropy, unit="sample")
expect_same(lambda x: exact(x, target, mask=mask, weight=weight).value(), [logits], [logits])

losses = torch.rand(6, 4, dtype=torch.float64, requires_grad=True)
segments = torch.randint(-1, 3, (6, 4))
for unit in ("element", "sample", "sample-sum"):
    def reduced(losses):
        rows = bp.reduce(losses, unit=unit, mask=mask, weight=weight)
        packed = bp.reduce(losses, unit=unit, segments=segments, num_segments=3)
        return bp.pool([rows, packed]).value()
    expect_same(reduced, [losses], [losses])
    print(unit)

hidden, layer = (torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((6, 8), (9, 8)))
target = torch.randint(9, (6,))
expect_same(
    lambda h, w: bp.linear_cross_entropy(h, w, target).value(), [hidden, layer], [hidden, layer]
)
print("done")
"""


def test_losses_and_their_reduction_compile_as_one_graph():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        cwd=SUPPORT,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("done\n")
