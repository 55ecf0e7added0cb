# expects: state-moved-per-micro-batch
"""An average of the weights moves with every micro-batch."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

torch.manual_seed(0)


model = nn.Linear(5, 1)
average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(4):
    for _ in range(3):
        (F.mse_loss(model(torch.randn(6, 5)), torch.randn(6, 1)) / 3).backward()
        average.update_parameters(model)
    optimizer.step()
    optimizer.zero_grad()
