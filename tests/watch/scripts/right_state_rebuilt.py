# right
"""A state that is detached anew goes back into its model, and a checkpoint was saved before."""

import io

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
for _ in range(6):
    loss = F.cross_entropy(model(torch.randn(6, 5)), torch.randint(4, (6,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    torch.save(model.state_dict(), io.BytesIO())
    state = {name: value.detach() for name, value in model.state_dict().items()}
    state["bias"] = state["bias"].clamp(-1, 1)
    model.load_state_dict(state)
best = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
loss = F.cross_entropy(model(torch.randn(6, 5)), torch.randint(4, (6,)))
loss.backward()
optimizer.step()
model.load_state_dict(best)
