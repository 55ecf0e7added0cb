# right
"""A checkpoint is made once and follows the weights; so does a second model."""

import io

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model, shadow = nn.Linear(5, 1), nn.Linear(5, 1)
optimizer = torch.optim.Adam(model.parameters())
checkpoint = {"model": model.state_dict(), "epoch": 0}
for epoch in range(4):
    F.mse_loss(model(torch.randn(6, 5)), torch.randn(6, 1)).backward()
    optimizer.step()
    optimizer.zero_grad()
    checkpoint["epoch"] = epoch
    torch.save(checkpoint, io.BytesIO())
    if epoch == 1:
        weights = model.state_dict()
    if epoch > 1:
        shadow.load_state_dict(weights)
