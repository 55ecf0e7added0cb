# right
"""Token losses without logits, over windows of micro-batches."""

import torch
from torch import nn

import batchproof as bp

torch.manual_seed(0)


body, head = nn.Embedding(9, 8), nn.Linear(8, 9)
optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.1)
step = bp.Step(nn.ModuleList([body, head]), optimizer)


def loss(model, tokens):
    return bp.linear_cross_entropy(model[0](tokens), model[1].weight, tokens, bias=model[1].bias)


for _ in range(3):
    step([torch.randint(9, (2, 4)), torch.randint(9, (1, 7))], loss)
