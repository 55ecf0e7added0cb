# right
"""A discriminator's loss is the sum of two terms, printed as such, and a generator's."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
real = torch.randn(200, 2) * 0.5 + 1
loader = DataLoader(TensorDataset(real), batch_size=50, shuffle=True)
generator = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
discriminator = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
optimizer_g = torch.optim.Adam(generator.parameters(), lr=0.01)
optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=0.01)
bce = nn.BCEWithLogitsLoss()

for epoch in range(3):
    total = 0.0
    for (samples,) in loader:
        ones, zeros = torch.ones(len(samples), 1), torch.zeros(len(samples), 1)
        fake = generator(torch.randn(len(samples), 2))
        loss_d = bce(discriminator(samples), ones) + bce(discriminator(fake.detach()), zeros)
        optimizer_d.zero_grad()
        loss_d.backward()
        optimizer_d.step()
        loss_g = bce(discriminator(fake), ones)
        optimizer_g.zero_grad()
        loss_g.backward()
        optimizer_g.step()
        total += loss_d.item()
        print(f"[{epoch}] Loss_D: {loss_d.item():.4f} Loss_G: {loss_g.item():.4f}")
    print(f"epoch {epoch} mean discriminator loss {total / len(loader):.5f}")
