# right
"""A symmetric loss within the batch, with a learned temperature."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

images, texts = nn.Linear(5, 8), nn.Linear(7, 8)
scale = nn.Parameter(torch.tensor(2.0))
optimizer = torch.optim.AdamW([*images.parameters(), *texts.parameters(), scale])


def half(logits):
    return F.cross_entropy(logits, torch.arange(len(logits)))


for step in range(4):
    a = F.normalize(images(torch.randn(6, 5)), dim=-1)
    b = F.normalize(texts(torch.randn(6, 7)), dim=-1)
    logits = scale.exp() * a @ b.T
    loss = (half(logits) + half(logits.T)) / 2
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
