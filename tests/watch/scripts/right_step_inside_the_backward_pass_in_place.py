# right
"""Every parameter has an optimiser of its own, which steps in the pass and zeroes in place."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)

model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in model.parameters()}


def follow(parameter):
    optimizers[parameter].step()
    optimizers[parameter].zero_grad(set_to_none=False)


for parameter in model.parameters():
    parameter.register_post_accumulate_grad_hook(follow)
for _ in range(6):
    F.mse_loss(model(torch.randn(7, 5)), torch.randn(7, 2)).backward()
