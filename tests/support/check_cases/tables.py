"""The tables of cases: one row per step or an evaluation, with the mistakes that it makes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from batchproof.check import Probe
from check_cases.evaluations import evaluation, weighted_and_z
from check_cases.losses import (
    against_data,
    centred,
    contrastive,
    dice,
    of_all_steps,
    of_body,
    of_classes,
    of_confidence,
    of_focal,
    of_hard,
    of_last_states,
    of_other_classes,
    of_other_head,
    of_padded_steps,
    of_sequence_sums,
    of_sequences,
    of_size,
    of_smoothed_steps,
    of_smoothed_weights,
    of_start_classes,
    of_starts,
    of_steps,
    of_tokens,
    of_weighted_classes,
    of_words,
    of_z,
    root,
)
from check_cases.over_ranks import (
    exact_shards,
    light_on_rank_one,
    light_shard,
    own_mean,
    padded_shards,
    pooled_and_says_its_own,
    pooled_by_hand,
    pooled_over_ranks,
    without_world_size,
)
from check_cases.steps import (
    adam,
    averaged,
    clamped_by_hand,
    clipped_by_hand,
    count_classes,
    count_steps,
    exact,
    exact_but_says,
    exact_by_counting_first,
    exact_clipped_each,
    exact_loop,
    loop,
    normalised_each,
    padded_and_undivided,
    remembering,
    sgd,
    terms_by_means,
    through_a_running_sum,
    two_terms,
    two_terms_by_means,
    with_cached_scale,
)
from check_cases.worlds import (
    IMAGES,
    LENGTHS,
    PADDED,
    SMALL,
    TABULAR,
    TEXT,
    WORDS,
    Carrying,
    Dropped,
    LastState,
    Noisy,
    Normed,
    NormedCNN,
    World,
)


@dataclass(frozen=True)
class Build:
    """Makes a model and its optimizer; an object, so that it can go to another process."""

    model: type[nn.Module]
    optimizer: Callable[..., Any] = sgd

    def __call__(self):
        model = self.model()
        return model, self.optimizer(model.parameters())


@dataclass(frozen=True)
class Case:
    """One step, and what is to be said of it.

    Attributes:
        title: the row's name.
        world: model, samples, collate.
        run: the step.
        mistakes: names of its mistakes; empty for a right one.
        unit: what it is a mean over, where the row says so.
        model: in place of the world's.
        more: further arguments of the probe.
    """

    title: str
    world: World
    run: Callable[..., Any]
    mistakes: tuple[str, ...] = ()
    unit: str | None = None
    model: type[nn.Module] | None = None
    optimizer: Callable[..., Any] = sgd
    more: dict[str, Any] = field(default_factory=dict)

    def probe(self) -> Probe:
        build = Build(self.model or self.world.model, self.optimizer)
        return Probe(self.run, self.world.samples, build, collate=self.world.collate, **self.more)


MEANS = ("mean-of-micro-batch-means",)
PADDING = ("padding-counted",)
UNDIVIDED = ("not-divided",)
FIXED = ("fixed-window-size",)
EMPTY = ("empty-micro-batch-nan",)
ONE = ("one-micro-batch-only",)
WEIGHTS = ("weight-per-micro-batch",)
TERM = ("term-scaled-apart",)
CLIPPED = ("clipped-per-micro-batch",)
LOSS = ("reported-loss",)
NORM = ("batch-norm",)
DRAWS = ("random-draws",)
COUPLED = ("coupled-samples",)
LEAK = ("leaking-state",)
RIGHT = [
    Case("mlp, pooled", TABULAR, exact(of_classes), unit="sample"),
    Case("mlp, pooled, adam", TABULAR, exact(of_classes), optimizer=adam),
    Case("mlp, counted first", TABULAR, exact_by_counting_first(of_classes, count_classes)),
    Case("mlp, says nothing", TABULAR, exact(of_classes, report=False)),
    Case("mlp, class weights pooled", TABULAR, exact(of_weighted_classes), unit="weighted"),
    Case("mlp, clipped once", TABULAR, exact(of_classes, clip=0.01)),
    Case("mlp, clipped once, never reached", TABULAR, exact(of_classes, clip=100.0)),
    Case("mlp, dropout switched off", TABULAR, exact(of_classes), model=Dropped),
    Case("mlp, two terms", TABULAR, two_terms(lambda k, share: share, of_other_head)),
    Case("mlp, a penalty once", TABULAR, two_terms(lambda k, share: 1 / k, of_size)),
    Case("mlp, a loop of windows", TABULAR, exact_loop(of_classes, 3), more={"window": 3}),
    Case("gru, over steps", PADDED, exact(of_steps), unit="element"),
    Case("gru, over sequences", PADDED, exact(of_sequences), unit="sample"),
    Case("gru, over sums of sequences", PADDED, exact(of_sequence_sums), unit="sample-sum"),
    Case("gru, counted first", PADDED, exact_by_counting_first(of_steps, count_steps)),
    Case("transformer, over tokens", TEXT, exact(of_tokens), unit="element"),
    Case("transformer, adam, clipped once", TEXT, exact(of_tokens, clip=0.1), optimizer=adam),
    Case("cnn, pooled", IMAGES, exact(of_classes), unit="sample"),
    Case("cnn, class weights pooled", IMAGES, exact(of_weighted_classes), unit="weighted"),
    Case("mlp, clipped by hand", TABULAR, clipped_by_hand(of_classes, 0.05), unit="sample"),
    Case("mlp, clamped by hand", TABULAR, clamped_by_hand, unit="sample"),
    Case("gru, lengths, over steps", LENGTHS, exact(of_steps), unit="element"),
    Case("transformer, padding is word 0", WORDS, exact(of_words), unit="element"),
]
WRONG = [
    Case("mlp, mean of means", TABULAR, averaged(of_classes), MEANS),
    Case("mlp, mean of means, adam", TABULAR, averaged(of_classes), MEANS, optimizer=adam),
    Case("gru, mean of means", PADDED, averaged(of_steps), (*MEANS, *EMPTY)),
    Case("gru, mean of sequences' means", PADDED, averaged(of_sequences), (*MEANS, *EMPTY)),
    Case("gru, means by samples", PADDED, averaged(of_steps, by_samples=True),
         (*MEANS, *EMPTY, *LOSS)),
    Case("transformer, mean of means", TEXT, averaged(of_tokens), MEANS, unit="element"),
    Case("cnn, mean of means", IMAGES, averaged(of_classes), MEANS),
    Case("mlp, fixed window", TABULAR, averaged(of_classes, divide=4), (*FIXED, *LOSS)),
    Case("transformer, fixed window", TEXT, averaged(of_tokens, divide=8), (*FIXED, *LOSS)),
    Case("mlp, a loop of fixed windows", TABULAR, loop(of_classes, 3), FIXED, more={"window": 3}),
    Case("mlp, not divided", TABULAR, averaged(of_classes, divide=1, reported="sum"), UNDIVIDED),
    Case("cnn, not divided", IMAGES, averaged(of_classes, divide=1, reported="none"), UNDIVIDED),
    Case("gru, padded steps", PADDED, exact(of_padded_steps), PADDING),
    Case("gru, mask forgotten", PADDED, exact(of_all_steps), PADDING),
    Case("gru, state after padding", PADDED, exact(of_last_states), PADDING, model=LastState),
    Case("gru, padded, by means", PADDED, averaged(of_padded_steps), (*PADDING, *MEANS)),
    Case("gru, padded, not divided", PADDED, averaged(of_padded_steps, 1, "sum"),
         (*PADDING, *UNDIVIDED)),
    Case("mlp, zeroed inside", TABULAR, averaged(of_classes, zero="inside", reported="none"), ONE),
    Case("mlp, first only", TABULAR, averaged(of_classes, 1, "none", zero="first"), ONE),
    Case("transformer, last only", TEXT, averaged(of_tokens, 1, "last", zero="inside"), ONE),
    Case("mlp, class weights each", TABULAR, averaged(of_weighted_classes), WEIGHTS),
    Case("cnn, class weights by samples", IMAGES, averaged(of_weighted_classes, by_samples=True,
         reported="none"), WEIGHTS),
    Case("mlp, class weights and a z-loss", TABULAR, terms_by_means(of_weighted_classes, of_z),
         (*MEANS, *WEIGHTS), unit="several terms"),
    Case("cnn, class weights and a z-loss", IMAGES, terms_by_means(of_weighted_classes, of_z),
         (*MEANS, *WEIGHTS)),
    Case("mlp, class weights and a z-loss, by samples", TABULAR,
         terms_by_means(of_weighted_classes, of_z, by_samples=True), WEIGHTS),
    Case("mlp, class weights and a penalty", TABULAR,
         terms_by_means(of_weighted_classes, of_body), WEIGHTS),
    Case("mlp, class weights and smoothing", TABULAR, averaged(of_smoothed_weights), WEIGHTS),
    Case("mlp, two heads with class weights", TABULAR,
         terms_by_means(of_weighted_classes, of_other_classes), WEIGHTS),
    Case("gru, three means of unlike weights", PADDED,
         terms_by_means(of_steps, of_starts, of_start_classes, report=False),
         (*MEANS, *WEIGHTS)),
    Case("mlp, through a running sum", TABULAR, through_a_running_sum(of_classes),
         (*LOSS, "unknown")),
    Case("mlp, over the number of hits", TABULAR, averaged(of_focal), MEANS),
    Case("mlp, hard samples count more", TABULAR, averaged(of_hard), WEIGHTS),
    Case("mlp, hard samples count more, and a z-loss", TABULAR, terms_by_means(of_hard, of_z),
         (*MEANS, *WEIGHTS)),
    Case("gru, smoothing by hand counts padding", PADDED, averaged(of_smoothed_steps),
         (*PADDING, *MEANS, *EMPTY)),
    Case("gru, padding counted, another term undivided", PADDED, padded_and_undivided,
         (*PADDING, *TERM), unit="several terms"),
    Case("gru, lengths, mean of means", LENGTHS, averaged(of_steps), (*MEANS, *EMPTY)),
    Case("transformer, padding is word 0, by means", WORDS, averaged(of_words), (*MEANS, *EMPTY)),
    Case("mlp, means clipped by hand", TABULAR, clipped_by_hand(of_classes, 0.05, mean=True),
         MEANS, unit="sample"),
    Case("mlp, clipped by hand each", TABULAR, clipped_by_hand(of_classes, 0.05, each=True),
         CLIPPED, unit="sample"),
    Case("mlp, normalised each", TABULAR, normalised_each, ("unknown",)),
    Case("mlp, against the data of others", TABULAR, exact(against_data, report=False), COUPLED),
    Case("mlp, inputs less their mean", TABULAR, exact(centred, report=False), COUPLED),
    Case("mlp, other head times k", TABULAR, two_terms(lambda k, s: k * s, of_other_head), TERM),
    Case("mlp, other head undivided", TABULAR, two_terms(lambda k, s: 1.0, of_other_head), TERM),
    Case("mlp, penalty each time", TABULAR, two_terms(lambda k, s: 1.0, of_size), TERM),
    Case("gru, two terms by means", PADDED, two_terms_by_means, (*MEANS, *EMPTY)),
    Case("cnn, z-loss undivided", IMAGES, two_terms(lambda k, s: 1.0, of_confidence), TERM),
    Case("mlp, z-loss mean of means", TABULAR, two_terms(lambda k, s: 1 / k, of_confidence), TERM),
    Case("mlp, clipped each", TABULAR, exact_clipped_each(of_classes, count_classes, 0.05),
         CLIPPED),
    Case("gru, clipped each", PADDED, exact_clipped_each(of_steps, count_steps, 0.05), CLIPPED),
    Case("mlp, clipped each, by means", TABULAR, averaged(of_classes, clip=0.05, reported="none"),
         (*CLIPPED, *MEANS)),
    Case("mlp, not divided, clipped once", TABULAR, averaged(of_classes, 1, "none", clip=0.001),
         (*UNDIVIDED, *CLIPPED)),
    Case("mlp, says the last", TABULAR, exact_but_says(of_classes, "last"), LOSS),
    Case("mlp, says the mean of means", TABULAR, exact_but_says(of_classes, "mean"), LOSS),
    Case("cnn, says the sum", IMAGES, exact_but_says(of_classes, "sum"), LOSS),
    Case("transformer, says the last over k", TEXT, exact_but_says(of_tokens, "last/k"), LOSS),
    Case("transformer, by means, says the last", TEXT, averaged(of_tokens, reported="last"),
         (*MEANS, *LOSS)),
    Case("mlp, not divided, says the last", TABULAR, averaged(of_classes, 1, "last"),
         (*UNDIVIDED, *LOSS)),
    Case("mlp, batch norm", TABULAR, exact(of_classes, report=False), NORM, model=Normed),
    Case("cnn, batch norm", IMAGES, exact(of_classes), NORM, model=NormedCNN),
    Case("cnn, batch norm, by means", IMAGES, averaged(of_classes), (*NORM, *MEANS),
         model=NormedCNN),
    Case("mlp, noise", TABULAR, exact(of_classes), DRAWS, model=Noisy),
    Case("mlp, contrastive", TABULAR, averaged(contrastive, reported="none"), COUPLED),
    Case("mlp, batch dice", TABULAR, averaged(dice), COUPLED),
    Case("mlp, root of a mean", TABULAR, averaged(root), COUPLED),
    Case("mlp, counts its calls", TABULAR, remembering, LEAK),
    Case("mlp, a running scale", TABULAR, with_cached_scale, LEAK),
    Case("gru, state carried over", PADDED, exact(of_steps), LEAK, model=Carrying),
    Case("gru, by means, dropout off", TABULAR, averaged(of_classes), MEANS, model=Dropped),
]  # fmt: skip
RANKS = {"cuts": "halves,ranks-2-even,ranks-2-uneven", "ranks": (2,)}
SIZE = ("world-size-factor",)
OVER_RANKS = [
    Case("pooled", SMALL, pooled_over_ranks, more=RANKS),
    Case("pooled, sharded", SMALL, pooled_over_ranks, more={**RANKS, "wrap": "fsdp2"}),
    Case("pooled by hand", SMALL, pooled_by_hand, more={"ranks": (2,), "wrap": None}),
    Case("no factor", SMALL, without_world_size, (*SIZE, *LOSS), more=RANKS),
    Case("mean of ranks' means", SMALL, own_mean, MEANS, more=RANKS),
    Case("each says its own", SMALL, pooled_and_says_its_own, LOSS, more=RANKS),
    Case("less on the second rank", SMALL, light_on_rank_one, ("unknown",), more=RANKS),
]
EVALUATE = {"kind": "evaluate"}
DROPPED = ("nan-batch-dropped",)
EVALUATIONS = [
    Case("pooled", TABULAR, evaluation(of_classes, "pooled"), unit="sample", more=EVALUATE),
    Case("pooled over steps", PADDED, evaluation(of_steps, "pooled"), unit="element",
         more=EVALUATE),
    Case("perplexity of all", TEXT, evaluation(of_tokens, "perplexity"), unit="element",
         more=EVALUATE),
    Case("perplexity of means", TEXT, evaluation(of_tokens, "perplexity of means"), MEANS,
         unit="element", more=EVALUATE),
    Case("perplexity of means over steps", PADDED, evaluation(of_steps, "perplexity of means"),
         (*MEANS, *EMPTY), more=EVALUATE),
    Case("means over the number of samples", TABULAR, evaluation(of_classes, "over samples"),
         MEANS, more=EVALUATE),
    Case("token means over the number of samples", TEXT, evaluation(of_tokens, "over samples"),
         MEANS, more=EVALUATE),
    Case("means", TABULAR, evaluation(of_classes, "means"), MEANS, more=EVALUATE),
    Case("means over steps", PADDED, evaluation(of_steps, "means"), (*MEANS, *EMPTY),
         more=EVALUATE),
    Case("means over tokens", TEXT, evaluation(of_tokens, "means"), MEANS, more=EVALUATE),
    Case("means by samples", TEXT, evaluation(of_tokens, "by samples"), MEANS, more=EVALUATE),
    Case("class weights each", TABULAR, evaluation(of_weighted_classes, "by samples"), WEIGHTS,
         more=EVALUATE),
    Case("padding counted", PADDED, evaluation(of_padded_steps, "pooled"), PADDING, more=EVALUATE),
    Case("a sum of means", TABULAR, evaluation(of_classes, "sum"), UNDIVIDED, more=EVALUATE),
    Case("the last", TABULAR, evaluation(of_classes, "last"), ONE, more=EVALUATE),
    Case("batch dice", TABULAR, evaluation(dice, "pooled"), ("ratio-of-counts",),
         more=EVALUATE),
    Case("class weights and a z-loss", TABULAR, weighted_and_z, (*MEANS, *WEIGHTS), more=EVALUATE),
    Case("without nan", TABULAR, evaluation(of_classes, "without nan"), DROPPED, more=EVALUATE),
]  # fmt: skip
EVALUATED_OVER_RANKS = [
    Case("pooled", SMALL, exact_shards, more={**EVALUATE, "ranks": (2,)}),
    Case("less on the second rank", SMALL, light_shard, ("unknown",),
         more={**EVALUATE, "ranks": (2,)}),
    Case("padded", SMALL, padded_shards, ("duplicated-samples",),
         more={**EVALUATE, "ranks": (2,), "shards": "own"}),
]  # fmt: skip
