# expects: mean-of-batch-means
"""An objective of two terms, averaged over batches that differ in size."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(150, 6)
loader = DataLoader(TensorDataset(x), batch_size=32, shuffle=True)
encoder, decoder, head = nn.Linear(6, 3), nn.Linear(3, 6), nn.Linear(3, 1)
parameters = [*encoder.parameters(), *decoder.parameters(), *head.parameters()]
optimizer = torch.optim.Adam(parameters, lr=0.01)

for epoch in range(4):
    total = 0.0
    for (inputs,) in loader:
        hidden = encoder(inputs)
        mse = F.mse_loss(decoder(hidden), inputs)
        l1 = F.l1_loss(head(hidden), inputs[:, :1])
        loss = mse + 0.3 * l1
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    print(f"epoch {epoch} train loss {total / len(loader):.5f}")
