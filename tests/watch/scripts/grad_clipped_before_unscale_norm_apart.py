# expects: clipped-before-unscale
"""The norm is taken and the gradient clipped in two calls, both before it is unscaled."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
for _ in range(4):
    loss = F.cross_entropy(model(torch.randn(6, 5)), torch.randint(4, (6,)))
    scaler.scale(loss).backward()
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters()])
    nn.utils.clip_grads_with_norm_(model.parameters(), 1.0, norm)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
