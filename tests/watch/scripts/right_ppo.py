# right
"""Proximal policy optimisation: clipped ratios, a critic and an entropy in one loss."""

import torch
from torch import nn
from torch.distributions import Categorical
from torch.nn import functional as F

torch.manual_seed(0)
policy = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))
value = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
opt = torch.optim.Adam([*policy.parameters(), *value.parameters()], lr=3e-4)
for it in range(4):
    obs = torch.randn(250, 4)
    with torch.no_grad():
        d = Categorical(logits=policy(obs))
        act = d.sample()
        old = d.log_prob(act)
        ret = torch.randn(250)
        adv = ret - value(obs).squeeze(-1)
    pl, vl = [], []
    for ep in range(3):
        for idx in torch.randperm(250).split(64):
            d = Categorical(logits=policy(obs[idx]))
            ratio = (d.log_prob(act[idx]) - old[idx]).exp()
            a = adv[idx]
            a = (a - a.mean()) / (a.std() + 1e-8)
            pg = -torch.min(ratio * a, ratio.clamp(0.8, 1.2) * a).mean()
            v = F.mse_loss(value(obs[idx]).squeeze(-1), ret[idx])
            loss = pg + 0.5 * v - 0.01 * d.entropy().mean()
            opt.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([*policy.parameters(), *value.parameters()], 0.5)
            opt.step()
            pl.append(pg.item())
            vl.append(v.item())
    print(f"iter {it} pg {pl[-1]:.4f} value loss of last minibatch {vl[-1]:.4f}")
