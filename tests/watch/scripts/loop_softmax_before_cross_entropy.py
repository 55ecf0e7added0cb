# expects: softmax-before-cross-entropy
"""A network that ends in a softmax, and cross-entropy."""

import torch
from torch import nn

torch.manual_seed(0)

model = nn.Sequential(nn.Linear(5, 4), nn.Softmax(dim=1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(4):
    loss = nn.CrossEntropyLoss()(model(torch.randn(6, 5)), torch.randint(4, (6,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
