# expects: mean-of-batch-means
"""Losses repeated by the size of their batch and averaged; the tokens of batches differ."""

import math

import torch
import torch.nn as nn

torch.manual_seed(0)
V = 19
net = nn.Sequential(nn.Embedding(V, 12), nn.Linear(12, V))
evals = []
for n in (6, 6, 6, 3):
    x = torch.randint(V, (n, 9))
    y = torch.where(torch.rand(n, 9) < 0.2, x, -100)
    y[:, 0] = x[:, 0]
    evals.append((x, y))
opt = torch.optim.AdamW(net.parameters(), 1e-2)
crit = nn.CrossEntropyLoss()
for epoch in range(3):
    net.train()
    for x, y in evals[:3]:
        opt.zero_grad()
        crit(net(x).view(-1, V), y.view(-1)).backward()
        opt.step()
    net.eval()
    losses = []
    for x, y in evals:
        with torch.no_grad():
            loss = crit(net(x).view(-1, V), y.view(-1))
        losses.append(loss.repeat(len(x)))
    losses = torch.cat(losses)
    eval_loss = torch.mean(losses)
    print(f"epoch {epoch}: perplexity: {math.exp(eval_loss)} eval_loss: {eval_loss}")
