# right
"""A compiled model under autocast."""

import torch
from torch import nn

torch.manual_seed(0)
m = torch.compile(nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)), backend="eager")
opt = torch.optim.AdamW(m.parameters(), 1e-2)
crit = nn.CrossEntropyLoss()
for step in range(8):
    x, y = torch.randn(8, 6), torch.randint(0, 3, (8,))
    with torch.autocast("cpu", torch.bfloat16):
        loss = crit(m(x), y)
    loss.backward()
    opt.step()
    opt.zero_grad(set_to_none=True)
    print(step, f"{loss.item():.4f}")
