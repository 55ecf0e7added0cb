# right
"""Episodes that grow: each step is of more losses than the one before."""

import torch
from torch import nn
from torch.nn import functional as F

torch.manual_seed(0)
trunk, policy, value = nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(8, 1)
parameters = [*trunk.parameters(), *policy.parameters(), *value.parameters()]
optimizer = torch.optim.Adam(parameters, lr=0.03)

for episode in range(9):
    saved, rewards = [], []
    for _ in range(4 + 2 * episode):
        features = trunk(torch.randn(4)).relu()
        choice = torch.distributions.Categorical(F.softmax(policy(features), -1))
        action = choice.sample()
        saved.append((choice.log_prob(action), value(features)))
        rewards.append(float(action))
    gain, gains = 0.0, []
    for reward in reversed(rewards):
        gain = reward + 0.99 * gain
        gains.insert(0, gain)
    gains = torch.tensor(gains)
    policies, values = [], []
    for (log_probability, guess), gain in zip(saved, gains, strict=True):
        policies.append(-log_probability * (gain - guess.item()))
        values.append(F.smooth_l1_loss(guess, gain[None]))
    optimizer.zero_grad()
    loss = torch.stack(policies).sum() + torch.stack(values).sum()
    loss.backward()
    optimizer.step()
    print(f"episode {episode} loss {loss.item():.3f}")
