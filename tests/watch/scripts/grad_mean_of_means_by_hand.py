# expects: mean-of-micro-batch-means
"""A loss by hand from log-probabilities, averaged over micro-batches of different sizes."""

import torch
from torch import nn

torch.manual_seed(0)

model = nn.Linear(6, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(3):
    model.zero_grad()
    for size in (2, 5):
        x, y = torch.randn(size, 6), torch.randint(4, (size,))
        log_probabilities = torch.log_softmax(model(x), dim=-1)
        loss = -log_probabilities.gather(1, y[:, None]).mean()
        (0.5 * loss).backward()
    optimizer.step()
