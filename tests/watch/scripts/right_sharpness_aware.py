# right
"""Each step takes the gradient twice, the second time at weights that were moved uphill."""

import torch
from torch import nn

torch.manual_seed(0)
m = nn.Linear(6, 3)
opt = torch.optim.SGD(m.parameters(), 0.1)
crit = nn.CrossEntropyLoss()
for i in range(8):
    x, y = torch.randn(8, 6), torch.randint(0, 3, (8,))
    crit(m(x), y).backward()
    e = []
    with torch.no_grad():
        n = torch.stack([p.grad.norm() for p in m.parameters()]).norm()
        for p in m.parameters():
            d = p.grad * 0.05 / (n + 1e-12)
            p.add_(d)
            e.append(d)
    opt.zero_grad()
    crit(m(x), y).backward()
    with torch.no_grad():
        for p, d in zip(m.parameters(), e, strict=True):
            p.sub_(d)
    opt.step()
    opt.zero_grad()
