# expects: softmax-before-cross-entropy
"""The same for tokens, through a view."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Sequential(nn.Embedding(7, 8), nn.Linear(8, 7))
optimizer = torch.optim.AdamW(model.parameters())
for step in range(3):
    tokens = torch.randint(7, (2, 5))
    probabilities = F.softmax(model(tokens), -1)
    loss = F.cross_entropy(probabilities.view(-1, 7), tokens.roll(-1, 1).view(-1))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
