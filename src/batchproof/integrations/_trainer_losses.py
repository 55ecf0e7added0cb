"""Where a transformers model computes its loss, and what records it there as pairs.

Most heads call torch's losses. Besides, a Trainer has a label smoother and a loss function of the
user's, TRL's models score labels without logits, and a mixture of experts has a router.

The router's term, E sum_e f_e p_e, is a product of two means over tokens: the share f_e of those
sent to expert e, which has no gradient, and the mean probability p_e. With f_e of the whole window,
which one forward pass without gradient counts, it is a mean over tokens:
sum_i (E sum_e f_e p_ie) / W.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor

from batchproof._errors import CriterionError
from batchproof.integrations._loss_calls import LossCalls
from batchproof.mean import Mean, reduce

ROUTER = "load_balancing_loss_func"
_TAKES = ("gate_logits", "num_experts", "top_k", "attention_mask")
_MIXTRAL = "transformers.models.mixtral.modeling_mixtral"


class Router:
    """The router's term of a mixture of experts, as pairs.

    Args:
        calls: record it.
        load: f_e of the whole window, shape (experts,); without it, that of the call.
        original: the model's own function, whose value must be the same; or None.

    Attributes:
        sums: of each call, f_e and p_e summed over rows, and the rows: shape (2 experts + 1,).
    """

    def __init__(self, calls: LossCalls, load: Tensor | None, original: Any = None) -> None:
        self.sums: list[Tensor] = []
        self._calls, self._load, self._original = calls, load, original

    def __call__(
        self,
        gate_logits: Any,
        num_experts: int | None = None,
        top_k: int = 2,
        attention_mask: Tensor | None = None,
    ) -> Any:
        """Return the term, with the arguments of transformers' own function."""
        if not isinstance(gate_logits, tuple):
            return 0
        experts = num_experts or gate_logits[0].shape[-1]
        gates = torch.cat([gate.to(gate_logits[0].device) for gate in gate_logits]).float()
        chances = gates.softmax(-1)
        rows = torch.ones_like(chances[:, 0])
        if attention_mask is not None:
            rows = attention_mask.reshape(-1).to(rows).repeat(len(gate_logits))
        picks = chances.topk(top_k, -1).indices.flatten()
        counts = torch.zeros(experts, device=rows.device)
        counts = counts.scatter_add(0, picks, rows.repeat_interleave(top_k))
        probability = (chances * rows[:, None]).sum(0)
        count = rows.sum()
        self.sums.append(torch.cat([counts, probability.detach(), count[None]]).double())
        load = counts / count if self._load is None else self._load.to(probability)
        mean = Mean((experts * (load * probability).sum())[None], count[None])
        value = self._calls.take(ROUTER, mean)
        if self._original is not None:
            own = self._original(gate_logits, num_experts, top_k, attention_mask).item()
            if abs(own - value.item()) > 1e-4 * abs(own):
                raise CriterionError(
                    f"the router's term is {own:.6g} and E sum f p is {value.item():.6g}; expected "
                    "that of Mixtral. Leave it out: output_router_logits=False."
                )
        return value


@dataclass(frozen=True, slots=True)
class Places:
    """Where a model computes its loss.

    Attributes:
        model: the model.
        scoring: the part of it that scores labels without logits, or None.
        module: the module of its head.
        has_router: whether the head has the router of Mixtral.
    """

    model: Any
    scoring: Any
    module: Any
    has_router: bool

    def stand_in(
        self, trainer: Any, calls: LossCalls, load: Tensor | None, *, is_compared: bool
    ) -> Router | None:
        """Record the losses that are computed there, until the recording ends.

        Args:
            trainer: the Trainer, whose smoother and loss function are recorded, too.
            calls: record them.
            load: as for Router.
            is_compared: whether the router's term must have the value of the model's own.

        Returns:
            What stands in place of the router, where there is one.
        """
        if (smoother := trainer.label_smoother) is not None:
            calls.replace(trainer, "label_smoother", _Smoother(smoother))
        if (function := trainer.compute_loss_func) is not None:
            calls.replace(trainer, "compute_loss_func", _taking(function, calls))
        if self.scoring is not None:
            calls.replace(self.scoring, "forward", _recording_scores(self.scoring.forward, calls))
        if not self.has_router:
            return None
        router = Router(calls, load, getattr(self.module, ROUTER) if is_compared else None)
        calls.replace(self.module, ROUTER, router)
        return router


def places_of(model: Any) -> Places:
    """Return where a model computes its loss."""
    scoring = _scoring(model)
    module = sys.modules[head_of(model).__module__]
    if scoring is not None:
        # whatever the model, the router's term is called there
        module = sys.modules.get(_MIXTRAL, module)
    router = getattr(module, ROUTER, None)
    has_router = router is not None and (
        isinstance(router, Router) or tuple(signature(router).parameters) == _TAKES
    )
    return Places(model, scoring, module, has_router)


def head_of(model: Any) -> type:
    """Return the class of a model's head: of what is wrapped, where that has a router."""
    inner = model
    while not hasattr(sys.modules[type(inner).__module__], ROUTER):
        further = getattr(inner, "module", None) or getattr(inner, "base_model", None)
        further = further if further is not inner else getattr(inner, "model", None)
        if further is None or further is inner:
            return type(model)
        inner = further
    return type(inner)


class _Smoother:
    """transformers' label smoother by torch's cross-entropy, which is the same mean."""

    def __init__(self, smoother: Any) -> None:
        self.epsilon, self.ignore_index = smoother.epsilon, smoother.ignore_index

    def __call__(self, outputs: Any, labels: Tensor, shift_labels: Any = None, **_: Any) -> Tensor:
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs[0]
        if shift_labels:
            logits, labels = logits[..., :-1, :], labels[..., 1:]
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, -2),
            labels.flatten(),
            ignore_index=self.ignore_index,
            label_smoothing=self.epsilon,
        )


def _taking(function: Callable[..., Any], calls: LossCalls) -> Callable[..., Any]:
    """Return the user's loss function, which may also return a Mean, or several by name."""

    def loss(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
        value = function(outputs, labels, num_items_in_batch=num_items_in_batch)
        if isinstance(value, Mean):
            return calls.take("loss", value)
        if isinstance(value, Mapping):
            return sum(calls.take(name, mean) for name, mean in value.items())
        return value

    return loss


def _scoring(model: Any) -> Any:
    """Return the part of a model whose forward scores labels without logits, as TRL's does."""
    for part in model.modules():
        forward = getattr(vars(part).get("forward"), "__func__", None)
        if forward is not None and "fused_lm_head" in forward.__code__.co_varnames:
            return part
    return None


def _recording_scores(forward: Callable[..., Any], calls: LossCalls) -> Callable[..., Any]:
    """Return a forward that records the mean of the labels' log-probabilities.

    Its caller computes -sum_it p_it / n over the n labels m_it of the micro-batch. With the scores
    p_it - m_it (v - d), v their recorded mean and d the same without graph, that is v itself.
    """

    def scored(*values: Any, **options: Any) -> Any:
        outputs = forward(*values, **options)
        if getattr(outputs, "log_probs", None) is None:
            return outputs
        mask = outputs.label_mask
        value = calls.take("log_probs", reduce(-outputs.log_probs, mask=mask))
        away = (value - value.detach()).to(outputs.log_probs.dtype)
        outputs.log_probs = outputs.log_probs.detach() - mask * away
        return outputs

    return scored
