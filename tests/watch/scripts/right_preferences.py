# right
"""Preferences between two continuations, against a frozen reference."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
V = 10
p = nn.Sequential(nn.Embedding(V, 16), nn.Linear(16, V))
r = nn.Sequential(nn.Embedding(V, 16), nn.Linear(16, V))
r.load_state_dict(p.state_dict())
opt = torch.optim.RMSprop(p.parameters(), 1e-3)


def lp(m, ids, mask):
    rows = m(ids[:, :-1]).log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
    return (rows * mask).sum(-1)


for i in range(6):
    c, j = torch.randint(0, V, (5, 9)), torch.randint(0, V, (5, 9))
    mk = (torch.arange(8) < torch.randint(3, 9, (5, 1))).float()
    mj = (torch.arange(8) < torch.randint(3, 9, (5, 1))).float()
    with torch.no_grad():
        rc, rj = lp(r, c, mk), lp(r, j, mj)
    d = 0.1 * ((lp(p, c, mk) - rc) - (lp(p, j, mj) - rj))
    loss = -F.logsigmoid(d).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    print(i, f"loss {loss.item():.4f} acc {(d > 0).float().mean().item():.2f}")
