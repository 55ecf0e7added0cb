# expects: nll-without-log-softmax
"""The negative log-likelihood of logits."""

import torch
from torch import nn

torch.manual_seed(0)

model = nn.Linear(5, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(4):
    loss = nn.NLLLoss()(model(torch.randn(16, 5)), torch.randint(4, (16,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
