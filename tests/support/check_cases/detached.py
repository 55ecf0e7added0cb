"""Steps that detach values: a term of the reported loss by mistake, or on purpose."""

import copy
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from check_cases.doubted import TABLE, size, stepping

G = torch.Generator().manual_seed(17)
PAIRS = [(torch.randn(4, generator=G), torch.randn(2, generator=G)) for _ in range(8)]


def two_layers(out=2, optimizer=torch.optim.SGD, **settings):
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, out))
    return model, optimizer(model.parameters(), **({"lr": 0.1} | settings))


class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.actor, self.critic = nn.Linear(4, 5), nn.Linear(5, 2), nn.Linear(5, 2)

    def forward(self, x):
        hidden = self.trunk(x).tanh()
        return self.actor(hidden), self.critic(hidden)


def heads(*, critic=True):
    model = Heads()
    critic_parameters = model.critic.parameters() if critic else ()
    own = [*model.trunk.parameters(), *model.actor.parameters(), *critic_parameters]
    return model, torch.optim.SGD(own, lr=0.1)


class Quantizer(nn.Module):
    def __init__(self, *, learned):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 3), nn.Linear(3, 4)
        codebook = torch.linspace(-1, 1, 15).reshape(5, 3).sin()
        if learned:
            self.codebook = nn.Parameter(codebook)
        else:
            self.register_buffer("codebook", codebook)


def quantizer(*, learned=True):
    model = Quantizer(learned=learned)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def mean(body):
    """A step of the mean over samples of body(model, x, y), itself a mean over samples."""
    return stepping(lambda m, batch, all_: body(m, *batch) * (len(batch[0]) / size(all_)))


def error(m, x, y):
    return F.mse_loss(m(x), y)


def squares(parameters):
    return 0.1 * sum(p.square().sum() for p in parameters)


def chosen(m, x, y):
    return m(x).log_softmax(1)[torch.arange(len(x)), y]


def penalty_under_no_grad(m, x, y):
    with torch.no_grad():
        penalty = sum(p.abs().sum() for p in m.parameters())
    return error(m, x, y) + 0.01 * penalty


def activation(m, x, y):
    hidden = m[:2](x)
    return F.mse_loss(m[2](hidden), y) + 0.1 * hidden.square().mean().detach()


def entropy_data(m, x, y):
    scores = m(x).log_softmax(1)
    entropy = -(scores.exp() * scores).sum(1).mean()
    return F.nll_loss(scores, y) - 0.1 * entropy.data


def made_again(m, x, y):
    return error(m, x, y) + torch.tensor(m(x).square().mean().item(), dtype=x.dtype)


def stacked(m, x, y):
    return torch.stack([error(m, x, y), m(x).abs().mean().detach(), m(x).pow(4).mean()]).sum()


def detached_head(m, x, y):
    actor, critic = m(x)
    return F.mse_loss(actor, y) + F.mse_loss(critic, y).detach()


def in_a_closure(m, optimizer, batches):
    values = []

    def closure():
        optimizer.zero_grad()
        total = 0.0
        for x, y in batches:
            loss = (error(m, x, y) + squares(m.parameters()).detach()) * (len(x) / size(batches))
            loss.backward()
            total += loss.item()
        values.append(total)
        return total

    optimizer.step(closure)
    return values[0]


# title: step, samples, build
WRONG = {
    "a penalty is detached": (
        mean(lambda m, x, y: error(m, x, y) + squares(m.parameters()).detach()), PAIRS, two_layers),
    "a penalty by item": (
        mean(lambda m, x, y: error(m, x, y) + 0.5 * squares(m.parameters()).item()),
        PAIRS, two_layers),
    "a penalty on data, under Adam": (
        mean(lambda m, x, y: error(m, x, y) + squares(p.data for p in m.parameters())),
        PAIRS, partial(two_layers, optimizer=torch.optim.Adam)),
    "a penalty under no_grad": (mean(penalty_under_no_grad), PAIRS, two_layers),
    "a penalty on activations is detached": (mean(activation), PAIRS, two_layers),
    "an entropy by data": (mean(entropy_data), TABLE, partial(two_layers, 3)),
    "a term is made a tensor again": (mean(made_again), PAIRS, two_layers),
    "one of three terms that are stacked": (mean(stacked), PAIRS, two_layers),
    "the term of a head": (mean(detached_head), PAIRS, heads),
    "in a closure": (in_a_closure, PAIRS, partial(two_layers, optimizer=torch.optim.LBFGS,
                                                  max_iter=1)),
}  # fmt: skip


def shown(m, x, y, how):
    """A surrogate with the gradient, of which another value is shown."""
    surrogate, value = (m(x) - y).square(), (m(x) - y).abs()
    if how == "by sample":
        return (surrogate + (value - surrogate).detach()).mean()
    if how == "by sample, again":
        return ((m(x) - y).square() + (value - (m(x) - y).square()).detach()).mean()
    surrogate, value = surrogate.mean(), value.mean()
    if how == "apart":
        return surrogate + value.detach() - surrogate.detach()
    if how == "by item":
        return surrogate + value.item() - surrogate.item()
    if how == "again":
        return surrogate + (value - error(m, x, y)).detach()
    return surrogate + (value - surrogate).detach()


def straight_through(m, x, y):
    hidden = m[:2](x)
    hidden = hidden + ((hidden * 4).round() / 4 - hidden).detach()
    return F.mse_loss(m[2](hidden), y)


def straight_through_summed(m, x, _):
    hidden = m(x)
    return (hidden + (hidden * hidden - hidden).detach()).mean()


def codebook(m, x, _):
    hidden = m.encoder(x)
    nearest = m.codebook[torch.cdist(hidden, m.codebook).argmin(1)]
    through = hidden + (nearest - hidden).detach()
    moved, committed = (
        F.mse_loss(nearest, hidden.detach()), F.mse_loss(hidden, nearest.detach()))  # fmt: skip
    return F.mse_loss(m.decoder(through), x) + moved + 0.25 * committed


def siamese(m, x, _):
    one, other = m[:2](x), m[:2](x.flip(1))
    left, right = one * m[0].bias, other * m[0].bias
    return -(
        F.cosine_similarity(left, other.detach()).mean()
        + F.cosine_similarity(right, one.detach()).mean()
    )


def teacher(m, x, _):
    with torch.no_grad():
        target = m(x.flip(1))
    return F.mse_loss(m(x), target)


def divergence(m, x, y, how):
    """The divergence from the model's own answer, held constant, written as two terms."""
    logits, scores = m(x.flip(1)), m(x).log_softmax(1)
    target = logits.softmax(1).detach()
    own = logits.log_softmax(1)
    entropy = -(own.exp() * own).sum(1).mean().detach()
    if how == "no_grad":
        with torch.no_grad():
            target = m(x.flip(1)).softmax(1)
            entropy = -(target * target.log()).sum(1).mean()
    if how == "by hand":
        entropy = -(target * target.log()).sum(1).mean()
    return F.cross_entropy(m(x), y) - (target * scores).sum(1).mean() - entropy


def clipped_policy(m, x, y):
    scores, value = chosen(m, x, y), m(x)[:, 0]
    ratio = (scores - (scores.detach() - 0.1)).exp()
    advantage = (1 - value).detach()
    policy = -torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
    return policy + 0.5 * (value - 1).square().mean()


def reinforce(m, x, y):
    return -(chosen(m, x, y) * (1 + m(x).square().mean(1)).detach()).mean()


def balanced(m, x, y):
    one, other = (m(x) - y).square().mean(1), m(x).abs().mean(1)
    return (one + other * (one / other).detach()).mean()


def focal(m, x, y):
    losses = F.cross_entropy(m(x), y, reduction="none")
    return ((1 - (-losses).exp()).detach() ** 2 * losses).mean()


def stable(m, x, y):
    logits = m(x)
    most = logits.max(1).values.detach()
    own = logits[torch.arange(len(x)), y]
    return (most + (logits - most[:, None]).exp().sum(1).log() - own).mean()


def confident(m, x, y):
    with torch.no_grad():
        weights = m(x).softmax(1).max(1).values
    return (weights * F.cross_entropy(m(x), y, reduction="none")).mean() + (1 - weights).mean()


def uncertain(m, x, y):
    variance = m[0].bias.sum()
    return (-variance.detach()).exp() * error(m, x, y) + variance.detach()


def truncated(m, x, y):
    hidden = m[0](x).tanh()
    return hidden.square().mean() + F.mse_loss(m[2](hidden.detach()), y)


def penalised_slope(m, x, y):
    inputs = (x + m(x)[:, :1].detach()).detach().requires_grad_()
    (slope,) = torch.autograd.grad(m(inputs).sum(), inputs, create_graph=True)
    return error(m, x, y) + (slope.norm(dim=1) - 1).square().mean()


def bootstrapped(m, x, y):
    with torch.no_grad():
        target = 1 + 0.9 * m(x.flip(1)).max(1).values
    return F.smooth_l1_loss(m(x)[torch.arange(len(x)), y], target)


def soft_actor(m, x, _):
    values = m(x)
    scores, heat = values.log_softmax(1), m[0].bias.sum()
    policy = (scores.exp() * (heat.exp().detach() * scores - values.detach())).sum(1).mean()
    return policy - (heat * (scores.mean(1) + 1).detach()).mean()


def recomputed(m, x, y):
    hidden = checkpoint(m, x.requires_grad_(), use_reentrant=True)
    return F.mse_loss(hidden, y) + m[0].weight.detach().sum() * m[2].bias.sum()


def proximal(m, optimizer, batches):
    """Soft thresholding moves the parameters as the penalty's gradient would not."""
    value = mean(penalty_under_no_grad)(m, optimizer, batches)
    with torch.no_grad():
        for p in m.parameters():
            p.copy_(p.sign() * (p.abs() - 0.001).clamp(min=0))
    return value


def in_another_pass(m, optimizer, batches, *, reach):
    """A term that is detached here has a backward pass of its own."""
    optimizer.zero_grad()
    total = 0.0
    for x, y in batches:
        share, hidden = len(x) / size(batches), m.trunk(x).tanh()
        other = F.mse_loss(m.critic(reach(hidden)), y) * share
        other.backward(retain_graph=True)
        loss = F.mse_loss(m.actor(hidden), y) * share + other.detach()
        loss.backward()
        total += loss.item()
    optimizer.step()
    return total


def averaged_teacher(m, optimizer, batches):
    copied = copy.deepcopy(m)
    value = mean(lambda m, x, y: F.mse_loss(m(x), copied(x).detach() + y))(m, optimizer, batches)
    for mine, theirs in zip(copied.parameters(), m.parameters(), strict=True):
        mine.data.mul_(0.9).add_(theirs.data, alpha=0.1)
    return value


CLASSES = partial(two_layers, 3)
RIGHT = {
    **{f"a surrogate, {how}": (mean(partial(shown, how=how)), PAIRS, two_layers)
       for how in ("at once", "apart", "again", "by item", "by sample", "by sample, again")},
    **{f"a divergence, {how}": (mean(partial(divergence, how=how)), TABLE, CLASSES)
       for how in ("by hand", "no_grad", "with its entropy")},
    "straight through": (mean(straight_through), PAIRS, two_layers),
    "straight through, summed": (mean(straight_through_summed), PAIRS, two_layers),
    "a codebook": (mean(codebook), PAIRS, quantizer),
    "a codebook that averages move": (mean(codebook), PAIRS, partial(quantizer, learned=False)),
    "siamese": (mean(siamese), PAIRS, two_layers),
    "its own teacher": (mean(teacher), PAIRS, two_layers),
    "an averaged teacher": (averaged_teacher, PAIRS, two_layers),
    "a clipped policy": (mean(clipped_policy), TABLE, CLASSES),
    "reinforce": (mean(reinforce), TABLE, CLASSES),
    "a soft actor": (mean(soft_actor), TABLE, CLASSES),
    "a bootstrapped target": (mean(bootstrapped), TABLE, CLASSES),
    "terms balanced by a ratio": (mean(balanced), PAIRS, two_layers),
    "focal weights": (mean(focal), TABLE, CLASSES),
    "confidence and its rest": (mean(confident), TABLE, CLASSES),
    "an uncertainty held": (mean(uncertain), PAIRS, two_layers),
    "a largest logit taken off": (mean(stable), TABLE, CLASSES),
    "truncated": (mean(truncated), PAIRS, two_layers),
    "a slope penalised": (mean(penalised_slope), PAIRS, two_layers),
    "recomputed": (mean(recomputed), PAIRS, two_layers),
    "weight decay shown": (
        mean(lambda m, x, y: error(m, x, y) + squares(m.parameters()).detach()), PAIRS,
        partial(two_layers, weight_decay=0.2)),
    "decoupled weight decay shown": (
        mean(lambda m, x, y: error(m, x, y) + squares(m.parameters()).item()), PAIRS,
        partial(two_layers, optimizer=torch.optim.AdamW)),
    "a proximal step": (proximal, PAIRS, two_layers),
    "a head of another optimiser": (mean(detached_head), PAIRS, partial(heads, critic=False)),
    "a pass of its own": (partial(in_another_pass, reach=lambda hidden: hidden), PAIRS, heads),
    "a pass of its own, for the head": (
        partial(in_another_pass, reach=torch.Tensor.detach), PAIRS, heads),
}  # fmt: skip
