# expects: clipped-before-unscale
"""The same at the end of a window of micro-batches."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 1)
optimizer = torch.optim.AdamW(model.parameters())
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
for i in range(6):
    loss = F.mse_loss(model(torch.randn(6, 5)), torch.randn(6, 1)) / 2
    scaler.scale(loss).backward()
    if i % 2 == 1:
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=0.5)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
