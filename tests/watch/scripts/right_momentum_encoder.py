# right
"""A second encoder follows the first, and keeps a queue of its outputs."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
q = nn.Linear(10, 8)
k = nn.Linear(10, 8)
k.load_state_dict(q.state_dict())
k.requires_grad_(False)
opt = torch.optim.SGD(q.parameters(), 0.03)
queue = F.normalize(torch.randn(8, 64), dim=0)
for i in range(8):
    x = torch.randn(16, 10)
    a, b = F.normalize(q(x + 0.1 * torch.randn_like(x)), dim=1), None
    with torch.no_grad():
        for p, r in zip(q.parameters(), k.parameters(), strict=True):
            r.data = r.data * 0.99 + p.data * 0.01
        b = F.normalize(k(x + 0.1 * torch.randn_like(x)), dim=1)
    lo = torch.cat([(a * b).sum(1, keepdim=True), a @ queue.clone()], 1) / 0.07
    loss = F.cross_entropy(lo, torch.zeros(16, dtype=torch.long))
    opt.zero_grad()
    loss.backward()
    opt.step()
    queue = torch.cat([b.T, queue], 1)[:, :64]
    print(f"Epoch: [0][{i}/8] Loss {loss.item():.4e}")
