# expects: best-by-reference
"""The best weights are detached and brought to the CPU, where they are: no copy."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Linear(5, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
best, best_loss = None, float("inf")
for _ in range(6):
    model.train()
    loss = F.cross_entropy(model(torch.randn(6, 5)), torch.randint(4, (6,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    model.eval()
    with torch.no_grad():
        val_loss = F.cross_entropy(model(torch.randn(9, 5)), torch.randint(4, (9,))).item()
    if val_loss < best_loss:
        best_loss = val_loss
        best = {name: value.detach().cpu() for name, value in model.state_dict().items()}
loss = F.cross_entropy(model(torch.randn(6, 5)), torch.randint(4, (6,)))
optimizer.zero_grad()
loss.backward()
optimizer.step()
model.load_state_dict(best)
