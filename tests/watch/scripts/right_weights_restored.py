# right
"""Averaged weights are evaluated, and a copy is loaded back; a state of old and new weights."""

import copy

import torch
from torch import nn

torch.manual_seed(0)
x, y = torch.randn(96, 6), torch.randint(3, (96,))
model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
trunk = {k: torch.randn_like(v) for k, v in model.state_dict().items() if k.startswith("0")}
state = model.state_dict()
model.load_state_dict(trunk, strict=False)
state.update(trunk)
model.load_state_dict(state)
average = copy.deepcopy(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(3):
    for i in range(0, 64, 16):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[i : i + 16]), y[i : i + 16]).backward()
        optimizer.step()
        moves, weights = average.state_dict(), model.state_dict()
        for key in moves:
            moves[key].lerp_(weights[key], 0.1)
        average.load_state_dict(moves)
    own = copy.deepcopy(model.state_dict())
    model.load_state_dict(average.state_dict())
    with torch.no_grad():
        print(f"epoch {epoch} loss {nn.functional.cross_entropy(model(x[64:]), y[64:]):.4f}")
    model.load_state_dict(own)
