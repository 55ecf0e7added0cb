# right
"""Advantages within groups; each sequence is the mean of its own tokens."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
V = 12
pol = nn.Sequential(nn.Embedding(V, 16), nn.Linear(16, V))
ref = nn.Sequential(nn.Embedding(V, 16), nn.Linear(16, V)).requires_grad_(False)
ref.load_state_dict(pol.state_dict())
opt = torch.optim.AdamW(pol.parameters(), 1e-3)
for it in range(5):
    ids = torch.randint(0, V, (8, 10))
    ln = torch.randint(3, 10, (8,))
    mask = (torch.arange(9)[None] < ln[:, None]).float()
    r = torch.randn(2, 4)
    adv = ((r - r.mean(1, keepdim=True)) / (r.std(1, keepdim=True) + 1e-4)).view(-1, 1)
    lp = torch.gather(F.log_softmax(pol(ids[:, :-1]), -1), 2, ids[:, 1:, None]).squeeze(-1)
    with torch.no_grad():
        rp = torch.gather(F.log_softmax(ref(ids[:, :-1]), -1), 2, ids[:, 1:, None]).squeeze(-1)
    kl = (rp - lp).exp() - (rp - lp) - 1
    tok = -(torch.exp(lp - lp.detach()) * adv - 0.04 * kl)
    loss = ((tok * mask).sum(1) / mask.sum(1)).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(it, f"loss {loss.item():.4f} kl {((kl * mask).sum() / mask.sum()).item():.5f}")
