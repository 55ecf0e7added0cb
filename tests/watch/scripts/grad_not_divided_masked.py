# expects: not-divided
"""Masked means of two micro-batches that are added."""

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

torch.manual_seed(0)


model = nn.Linear(4, 7)
optimizer = torch.optim.Adam(model.parameters())
for step in range(4):
    optimizer.zero_grad(set_to_none=False)
    for length in (3, 6):
        x, y = torch.randn(5, 4), torch.rand(5, 7).round()
        mask = torch.zeros(5, 7)
        mask[:, :length] = 1
        losses = bce(model(x), y, reduction="none")
        loss = (losses * mask).sum() / mask.sum()
        loss.backward()
    optimizer.step()
