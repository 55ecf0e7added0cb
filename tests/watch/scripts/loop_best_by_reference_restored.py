# expects: best-by-reference
"""Averaged weights are evaluated, and the model's are then loaded into themselves."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

torch.manual_seed(0)
x, y = torch.randn(96, 6), torch.randint(3, (96,))
model = nn.Linear(6, 3)
average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(3):
    for i in range(0, 64, 16):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[i : i + 16]), y[i : i + 16]).backward()
        optimizer.step()
        average.update_parameters(model)
    own = model.state_dict()
    model.load_state_dict(average.module.state_dict())
    with torch.no_grad():
        print(f"epoch {epoch} loss {nn.functional.cross_entropy(model(x[64:]), y[64:]):.4f}")
    model.load_state_dict(own)
