# expects: scheduler-before-optimizer
"""A one-cycle schedule steps before the optimiser."""

import torch
from torch import nn

torch.manual_seed(0)
m = nn.Linear(6, 3)
opt = torch.optim.SGD(m.parameters(), 0.1)
sch = torch.optim.lr_scheduler.OneCycleLR(opt, 0.1, total_steps=13)
crit = nn.CrossEntropyLoss()
for i in range(12):
    x, y = torch.randn(8, 6), torch.randint(0, 3, (8,))
    opt.zero_grad()
    crit(m(x), y).backward()
    sch.step()
    opt.step()
