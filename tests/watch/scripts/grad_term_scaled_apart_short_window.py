# expects: term-scaled-apart
"""Two tasks with weights; the window varies, one task is divided by it and the other is not."""

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.manual_seed(0)
trunk, c, r = nn.Linear(5, 8), nn.Linear(8, 3), nn.Linear(8, 1)
opt = torch.optim.Adam([*trunk.parameters(), *c.parameters(), *r.parameters()])
batches = [(torch.randn(4, 5), torch.randint(3, (4,)), torch.randn(4, 1)) for _ in range(10)]
for e in range(3):
    for s in range(0, 10, 4):
        w = batches[s : s + 4]
        for x, a, b in w:
            f = trunk(x).relu()
            (F.cross_entropy(c(f), a) / len(w) + 0.5 * F.mse_loss(r(f), b)).backward()
        opt.step()
        opt.zero_grad()
