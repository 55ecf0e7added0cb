# right
"""A classifier whose features are to look alike over two domains."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
enc, head, disc = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 1)
o1 = torch.optim.Adam([*enc.parameters(), *head.parameters()], 1e-3)
o2 = torch.optim.Adam(disc.parameters(), 1e-3)
for i in range(8):
    xs, ys, xt = torch.randn(16, 6), torch.randint(0, 3, (16,)), torch.randn(20, 6)
    hs, ht = enc(xs), enc(xt)
    d = F.binary_cross_entropy_with_logits(
        disc(torch.cat([hs, ht]).detach()), torch.cat([torch.ones(16, 1), torch.zeros(20, 1)])
    )
    o2.zero_grad()
    d.backward()
    o2.step()
    c = F.cross_entropy(head(hs), ys) + 0.1 * F.binary_cross_entropy_with_logits(
        disc(ht), torch.ones(20, 1)
    )
    o1.zero_grad()
    c.backward()
    o1.step()
    print(f"{i} cls {c.item():.4f} dom {d.item():.4f}")
