# right
"""Several passes of minibatches in each update, and one line with the loss of the last of them."""

import torch
from torch import nn

torch.manual_seed(0)
value = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(value.parameters(), lr=3e-3)

for update in range(5):
    observations = torch.randn(96, 4)
    returns = observations.sum(1, keepdim=True) + 0.1 * torch.randn(96, 1)
    for _ in range(3):
        for rows in torch.randperm(96).split(40):
            loss = nn.functional.mse_loss(value(observations[rows]), returns[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    print(f"update {update} value loss {loss.item():.4f}")
