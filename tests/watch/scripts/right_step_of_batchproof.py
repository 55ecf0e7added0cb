# right
"""batchproof's own step over micro-batches of different sizes."""

import torch
from torch import nn

import batchproof as bp

torch.manual_seed(0)


model = nn.Linear(5, 3)
step = bp.Step(model, torch.optim.AdamW(model.parameters()), max_grad_norm=0.1)
loss = bp.supervised(nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 4.0])))
batches = [(torch.randn(n, 5), torch.randint(3, (n,))) for n in (3, 5, 2, 4, 1, 6, 2)]
for _ in range(2):
    for window in bp.windows(batches, accumulate=3):
        step(window, loss)
