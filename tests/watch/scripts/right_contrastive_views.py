# right
"""Two views of each sample are told from all others of the batch."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
enc = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 16))
opt = torch.optim.Adam(enc.parameters(), 1e-3)
x = torch.randn(120, 12)
for ep in range(2):
    tot = 0.0
    for b in x.split(32):
        v = torch.cat([b + 0.1 * torch.randn_like(b), b + 0.1 * torch.randn_like(b)])
        z = F.normalize(enc(v), dim=1)
        sim = z @ z.T / 0.5
        sim.fill_diagonal_(-1e9)
        n = len(b)
        lab = torch.cat([torch.arange(n) + n, torch.arange(n)])
        loss = F.cross_entropy(sim, lab)
        opt.zero_grad()
        loss.backward()
        opt.step()
        tot += loss.item() * n
    print(f"epoch {ep} nt-xent {tot / 120:.4f}")
