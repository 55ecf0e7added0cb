# expects: term-scaled-apart
"""Two terms with a backward pass each; one is divided."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 4)
optimizer = torch.optim.Adam(model.parameters())
for step in range(3):
    for _ in range(2):
        x = torch.randn(6, 5)
        (F.cross_entropy(model(x), torch.randint(4, (6,))) / 2).backward()
        F.l1_loss(model(x), torch.zeros(6, 4)).backward()
    optimizer.step()
    optimizer.zero_grad()
