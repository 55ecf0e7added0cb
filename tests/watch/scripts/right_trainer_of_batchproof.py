# right
"""batchproof's own trainer, with a validation."""

import torch
from torch import nn

import batchproof as bp

torch.manual_seed(0)


data = torch.utils.data.TensorDataset(torch.randn(30, 5), torch.randint(3, (30,)))
loader = torch.utils.data.DataLoader(data, batch_size=8)
model = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
trainer = bp.Trainer(model, bp.supervised(nn.CrossEntropyLoss()), optimizer, accumulate=2)
trainer.fit(loader, loader, max_epochs=3)
