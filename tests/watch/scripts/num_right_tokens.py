# right
"""A language model over padded sentences, with every token counted once."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(2)
vocabulary = 12
model = nn.Sequential(nn.Embedding(vocabulary, 8), nn.Linear(8, vocabulary))
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
lengths = torch.randint(3, 12, (70,)).tolist()
sentences = [torch.randint(1, vocabulary, (length,)) for length in lengths]

for epoch in range(3):
    total = count = 0
    for start in range(0, 70, 16):
        rows = nn.utils.rnn.pad_sequence(sentences[start : start + 16], batch_first=True)
        inputs, targets = rows[:, :-1], rows[:, 1:].clone()
        targets[targets == 0] = -100
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        tokens = (targets != -100).sum().item()
        total += loss.item() * tokens
        count += tokens
    print(f"epoch {epoch} nll {total / count:.5f}")
