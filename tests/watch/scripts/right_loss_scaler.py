# right
"""A loss scaler, unscaled before it is clipped, over windows of micro-batches."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30, growth_interval=3)
scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
for step in range(4):
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(torch.randn(6, 5)), torch.randint(4, (6,))) / 2
        scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    scheduler.step()
