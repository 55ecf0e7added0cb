# expects: not-divided
"""A compiled model back-propagates four micro-batches and divides by nothing."""

import torch
from torch import nn

torch.manual_seed(0)
m = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
cm = torch.compile(m, backend="eager")
opt = torch.optim.SGD(m.parameters(), 1e-2)
crit = nn.CrossEntropyLoss()
for step in range(6):
    opt.zero_grad()
    for _ in range(4):
        x, y = torch.randn(8, 6), torch.randint(0, 3, (8,))
        crit(cm(x), y).backward()
    opt.step()
