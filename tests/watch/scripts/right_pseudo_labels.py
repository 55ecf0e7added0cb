# right
"""Labels that a model is sure of count, over all that are unlabelled."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
m = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
opt = torch.optim.SGD(m.parameters(), 0.03, momentum=0.9, nesterov=True)
for i in range(10):
    x, y, u = torch.randn(8, 6), torch.randint(0, 3, (8,)), torch.randn(56, 6)
    o = m(torch.cat([x, u + 0.1 * torch.randn_like(u), u]))
    ox, ow, os = o.split([8, 56, 56])
    lx = F.cross_entropy(ox, y)
    pr = ow.detach().softmax(-1)
    mp, t = pr.max(-1)
    mask = mp.ge(0.4).float()
    lu = (F.cross_entropy(os, t, reduction="none") * mask).mean()
    opt.zero_grad()
    (lx + lu).backward()
    opt.step()
    print(f"{i} lx {lx.item():.4f} lu {lu.item():.4f} mask {mask.mean():.2f}")
