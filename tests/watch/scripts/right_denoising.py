# right
"""A denoiser weights each sample by its noise, and its checkpoint is saved again and again."""

import copy

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
m = nn.Sequential(nn.Linear(5, 32), nn.SiLU(), nn.Linear(32, 4))
ema = copy.deepcopy(m).requires_grad_(False)
opt = torch.optim.AdamW(m.parameters(), 1e-3)
ab = torch.linspace(0.99, 0.01, 50)
for i in range(12):
    opt.zero_grad()
    tot = 0.0
    for _ in range(2):
        x = torch.randn(16, 4)
        t = torch.randint(0, 50, (16,))
        e = torch.randn_like(x)
        a = ab[t][:, None]
        snr = a / (1 - a)
        w = snr.clamp(max=5) / snr
        loss = (
            w
            * F.mse_loss(
                m(torch.cat([a.sqrt() * x + (1 - a).sqrt() * e, t[:, None] / 50], 1)),
                e,
                reduction="none",
            )
        ).mean() / 2
        loss.backward()
        tot += loss.item()
    nn.utils.clip_grad_norm_(m.parameters(), 1.0)
    opt.step()
    for p, q in zip(ema.parameters(), m.parameters(), strict=True):
        p.lerp_(q, 0.01)
    if i % 4 == 3:
        print(f"{i} loss {tot:.4f}")
        torch.save(
            {"model": m.state_dict(), "ema": ema.state_dict(), "opt": opt.state_dict(), "step": i},
            "/dev/null",
        )
