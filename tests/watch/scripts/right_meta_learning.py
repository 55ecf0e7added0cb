# right
"""MAML: an inner step by autograd.grad, functional_call for the query set, the mean over tasks."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 2))
meta = torch.optim.Adam(net.parameters(), 1e-3)
for it in range(4):
    total = 0.0
    meta.zero_grad()
    for task in range(3):
        xs, ys, xq, yq = (
            torch.randn(5, 3),
            torch.randint(2, (5,)),
            torch.randn(10, 3),
            torch.randint(2, (10,)),
        )
        params = dict(net.named_parameters())
        for _ in range(2):
            g = torch.autograd.grad(
                F.cross_entropy(functional_call(net, params, xs), ys),
                params.values(),
                create_graph=True,
            )
            params = {k: p - 0.1 * d for (k, p), d in zip(params.items(), g, strict=True)}
        total = total + F.cross_entropy(functional_call(net, params, xq), yq)
    (total / 3).backward()
    meta.step()
    print(f"iteration {it} meta loss {total.item() / 3:.4f}")
