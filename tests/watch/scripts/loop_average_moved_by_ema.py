# expects: state-moved-per-micro-batch
"""An exponential average of the weights moves with every micro-batch."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

torch.manual_seed(0)
m = nn.Linear(6, 3)
ema = AveragedModel(m, multi_avg_fn=get_ema_multi_avg_fn(0.99))
opt = torch.optim.SGD(m.parameters(), 0.1)
crit = nn.CrossEntropyLoss()
for i in range(24):
    x, y = torch.randn(8, 6), torch.randint(0, 3, (8,))
    (crit(m(x), y) / 4).backward()
    if (i + 1) % 4 == 0:
        opt.step()
        opt.zero_grad()
    ema.update_parameters(m)
