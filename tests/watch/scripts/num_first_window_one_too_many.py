# expects: window-average-off
"""The first window of every epoch holds one batch more than it is divided by."""

import math
import time

import torch
import torch.nn as nn

torch.manual_seed(1111)
V, bptt, log_interval = 13, 6, 5


class RNNModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.rnn, self.decoder = nn.Embedding(V, 8), nn.LSTM(8, 8), nn.Linear(8, V)

    def forward(self, x, h):
        o, h = self.rnn(self.encoder(x), h)
        return nn.functional.log_softmax(self.decoder(o).view(-1, V), dim=1), h


data = torch.randint(V, (100, 4))
val = torch.randint(V, (43, 4))
model, criterion = RNNModel(), nn.NLLLoss()


def get_batch(source, i):
    n = min(bptt, len(source) - 1 - i)
    return source[i : i + n], source[i + 1 : i + 1 + n].view(-1)


def evaluate(source):
    model.eval()
    total_loss, hidden = 0.0, None
    with torch.no_grad():
        for i in range(0, source.size(0) - 1, bptt):
            d, t = get_batch(source, i)
            output, hidden = model(d, hidden)
            total_loss += len(d) * criterion(output, t).item()
    return total_loss / (len(source) - 1)


lr = 1.0
for epoch in range(1, 4):
    model.train()
    total_loss, hidden, start = 0.0, None, time.time()
    for batch, i in enumerate(range(0, data.size(0) - 1, bptt)):
        d, t = get_batch(data, i)
        model.zero_grad()
        if hidden is not None:
            hidden = tuple(h.detach() for h in hidden)
        output, hidden = model(d, hidden)
        loss = criterion(output, t)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        for p in model.parameters():
            p.data.add_(p.grad, alpha=-lr)
        total_loss += loss.item()
        if batch % log_interval == 0 and batch > 0:
            cur_loss = total_loss / log_interval
            print(
                f"| epoch {epoch:3d} | {batch:5d}/{len(data) // bptt:5d} batches "
                f"| loss {cur_loss:5.2f} | ppl {math.exp(cur_loss):8.2f}"
            )
            total_loss = 0
    v = evaluate(val)
    print(f"| end of epoch {epoch:3d} | valid loss {v:5.2f} | valid ppl {math.exp(v):8.2f}")
