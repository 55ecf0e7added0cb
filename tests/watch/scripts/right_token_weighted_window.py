# right
"""Sums of token losses over the number of tokens of the window."""

import torch
from torch import nn

torch.manual_seed(0)

model = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 9))
optimizer = torch.optim.AdamW(model.parameters())
criterion = nn.CrossEntropyLoss(ignore_index=-100, reduction="sum")
for step in range(4):
    window = [torch.randint(9, (2, 4 + j)) for j in range(3)]
    labels = [tokens.roll(-1, 1) for tokens in window]
    for label in labels:
        label[1, 2:] = -100
    if step == 2:
        labels[1][:] = -100
    count = sum((label != -100).sum() for label in labels)
    optimizer.zero_grad()
    for tokens, label in zip(window, labels, strict=True):
        loss = criterion(model(tokens).flatten(0, 1), label.flatten()) / count
        loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
    optimizer.step()
