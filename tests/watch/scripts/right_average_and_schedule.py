# right
"""An average of the weights and a warm-up, once a step, over windows of micro-batches."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

torch.manual_seed(0)


model = nn.Linear(5, 1)
average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
optimizer = torch.optim.AdamW(model.parameters())
scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=5)
for i in range(12):
    loss = F.mse_loss(model(torch.randn(4, 5)), torch.randn(4, 1)) / 3
    loss.backward()
    if (i + 1) % 3 == 0:
        optimizer.step()
        scheduler.step()
        average.update_parameters(model)
        optimizer.zero_grad()
