# right
"""A decoder with a loss for each word; after one backward pass two optimisers step."""

import torch
from torch import nn

torch.manual_seed(0)
encoder, decoder = nn.GRU(6, 8), nn.GRUCell(6, 8)
out = nn.Linear(8, 6)
first = torch.optim.SGD(encoder.parameters(), lr=0.01)
second = torch.optim.SGD([*decoder.parameters(), *out.parameters()], lr=0.01)


def step(source, target):
    first.zero_grad()
    second.zero_grad()
    loss, word = 0, torch.zeros(1, 6)
    hidden = encoder(source)[1][0]
    for label in target:
        hidden = decoder(word, hidden)
        loss += nn.functional.cross_entropy(out(hidden), label[None])
        word = nn.functional.one_hot(label[None], 6).float()
    loss.backward()
    first.step()
    second.step()
    return loss.item()


for _ in range(4):
    step(torch.randn(7, 1, 6), torch.randint(6, (6,)))
