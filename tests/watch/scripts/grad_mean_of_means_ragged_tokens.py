# expects: mean-of-micro-batch-means
"""A language model that divides each micro-batch's token mean by the number of micro-batches."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

vocabulary, steps, accumulate = 11, 3, 4
model = nn.Sequential(nn.Embedding(vocabulary, 16), nn.Linear(16, vocabulary))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(steps):
    optimizer.zero_grad()
    for micro in range(accumulate):
        tokens = torch.randint(vocabulary, (3, 6 + micro))
        targets = tokens.roll(-1, 1)
        targets[:, 3 + micro :] = -100
        logits = model(tokens)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)
        (loss / accumulate).backward()
    optimizer.step()
