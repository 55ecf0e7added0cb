"""Padding in the denominator of a mean."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset


def finds_a_product(prediction, target, padding_mask):
    losses = F.mse_loss(prediction, target, reduction="none") * padding_mask
    return losses.mean()  # BP108


def finds_a_negated_mask(prediction, batch):
    loss = F.l1_loss(prediction, batch["action"], reduction="none") * ~batch["action_is_pad"]
    return loss.mean()  # BP108


def finds_one_expression(prediction, target, valid):
    return (F.mse_loss(prediction, target, reduction="none") * valid).mean()  # BP108


def finds_masked_fill(logits, target, pad_mask):
    losses = F.cross_entropy(logits, target, reduction="none")
    losses = losses.masked_fill(pad_mask, 0)
    return losses.mean()  # BP108


def finds_where(logits, target, attention_mask):
    losses = F.cross_entropy(logits, target, reduction="none")
    losses = torch.where(attention_mask, losses, 0.0)
    return losses.mean()  # BP108


def finds_a_comparison(logits, target, pad_id):
    valid_tokens = target != pad_id
    losses = F.cross_entropy(logits, target, reduction="none")
    return torch.mean(losses * valid_tokens)  # BP108


def finds_a_mask_as_numbers(logits, target, attention_mask):
    losses = F.cross_entropy(logits, target, reduction="none")
    losses = losses * attention_mask.float()
    return losses.mean()  # BP108


def finds_a_mask_of_one_more_dimension(prediction, target, is_pad):
    losses = F.mse_loss(prediction, target, reduction="none")
    in_bounds = ~is_pad
    losses = losses * in_bounds.unsqueeze(-1)
    return losses.mean()  # BP108


def finds_a_mask_by_that_name(logits, target, mask):
    losses = F.cross_entropy(logits, target, reduction="none") * mask
    return losses.mean()  # BP108 likely


def passes_a_sum_over_the_mask(prediction, target, padding_mask):
    losses = F.mse_loss(prediction, target, reduction="none") * padding_mask
    return losses.sum() / padding_mask.sum().clamp(min=1)


def passes_masked_select(prediction, target, padding_mask):
    losses = F.mse_loss(prediction, target, reduction="none")
    return losses.masked_select(padding_mask).mean()


def passes_an_index(prediction, target, padding_mask):
    losses = F.mse_loss(prediction, target, reduction="none")
    return losses[padding_mask].mean()


def passes_a_selection_before(prediction, target, padding_mask):
    return F.mse_loss(prediction[padding_mask], target[padding_mask])


def passes_sample_weights(prediction, target, weights):
    losses = F.mse_loss(prediction, target, reduction="none")
    return (losses * weights).mean()


def passes_a_confidence(weak, strong, threshold):
    scores, labels = torch.max(torch.softmax(weak.detach(), dim=-1), dim=-1)
    confident = scores.ge(threshold).float()
    return (F.cross_entropy(strong, labels, reduction="none") * confident).mean()


def passes_no_mask(prediction, target):
    return F.mse_loss(prediction, target, reduction="none").mean()


def passes_a_mean_divided_by_the_share(prediction, target, valid):
    losses = F.mse_loss(prediction, target, reduction="none") * valid
    return losses.mean() / valid.float().mean().clamp(min=1e-8)


def finds_a_function_of_its_own(prediction, target, padding_mask):
    losses = (prediction - target) ** 2 * padding_mask
    return losses.mean()  # BP108


def misses_lengths_without_a_name(model, batch):
    text, mel, _ = batch
    return F.l1_loss(model(text), mel)  # missed BP108


def misses_padding_put_to_zero_before(prediction, target, lengths):
    losses = F.mse_loss(prediction, target, reduction="none")
    for row, length in enumerate(lengths):
        losses[row, length:] = 0
    return losses.mean()  # missed BP108


def finds_a_difference_by_hand(model, frames, flow, valid):
    valid = (valid >= 0.5) & (flow.norm(dim=1) < 400)
    total = 0.0
    for prediction in model(frames):
        distance = (prediction - flow).abs()
        total += 0.8 * (valid[:, None] * distance).mean()  # BP108
    return total


def passes_a_difference_over_its_mask(model, frames, flow, valid):
    distance = (model(frames) - flow) ** 2
    return (valid * distance).sum() / valid.sum().clamp(min=1)


def finds_targets_that_are_ignored(logits, targets):
    losses = F.cross_entropy(logits, targets, reduction="none", ignore_index=0)
    return losses.mean()  # BP108


def passes_a_sum_over_tokens_and_a_mean_over_sentences(logits, targets):
    losses = F.cross_entropy(logits, targets, reduction="none", ignore_index=0)
    return losses.view(targets.shape).sum(1).mean()


def passes_targets_that_are_ignored_left_out(logits, targets):
    losses = F.cross_entropy(logits, targets, reduction="none", ignore_index=0)
    return losses[targets != 0].mean()


def passes_targets_that_are_ignored_counted(logits, targets):
    losses = F.cross_entropy(logits, targets, reduction="none", ignore_index=0)
    return losses.sum() / (targets != 0).sum()


def passes_the_branch_in_which_nothing_is_masked(logits, targets, ignore):
    if ignore >= 0:
        pad_mask = (targets != ignore).float()
        targets = targets.clamp(min=0)
    losses = F.cross_entropy(logits, targets, reduction="none")
    if ignore >= 0:
        losses = losses * pad_mask
    if not ignore >= 0:
        return losses.mean()
    return losses.sum() / pad_mask.sum().clamp(min=1)


def finds_the_branch_in_which_all_is_masked(logits, targets, pad_mask, masks):
    losses = F.cross_entropy(logits, targets, reduction="none")
    if masks:
        losses = losses * pad_mask
    return losses.mean() if masks else losses.max()  # BP108


def finds_a_test_that_was_written_between(logits, targets, pad_mask, masks):
    losses = F.cross_entropy(logits, targets, reduction="none")
    if masks:
        losses = losses * pad_mask
    masks = not masks
    if masks:
        return losses.sum()
    return losses.mean()  # BP108


def finds_a_gathered_likelihood(output, target, pad):
    log_probs = F.log_softmax(output, dim=-1)
    losses = -log_probs.gather(dim=-1, index=target)
    padding = target.eq(pad)
    losses.masked_fill_(padding, 0.0)
    return losses.mean()  # BP108


def finds_items_that_are_set_to_zero(output, target, pad_id):
    losses = F.cross_entropy(output, target, reduction="none")
    losses[target == pad_id] = 0
    return losses.mean()  # BP108


def finds_zeros_of_their_shape(output, target, pad_mask):
    losses = F.nll_loss(output, target, reduction="none")
    losses = torch.where(pad_mask, torch.zeros_like(losses), losses)
    return losses.mean()  # BP108


def finds_inputs_under_a_mask(output, target, attention_mask):
    output = output * attention_mask
    return F.mse_loss(output, target * attention_mask)  # BP108


def finds_inputs_that_are_filled(output, target, padding_mask):
    output = output.masked_fill(padding_mask, 0)
    target = target.masked_fill(padding_mask, 0)
    return F.l1_loss(output, target)  # BP108


def finds_inputs_under_another_mask(output, target, mask):
    return F.mse_loss(output * mask, target * mask)  # BP108 likely


def passes_a_gathered_likelihood_of_valid_targets(output, target, pad):
    log_probs = F.log_softmax(output, dim=-1)
    losses = -log_probs.gather(dim=-1, index=target)
    padding = target.eq(pad)
    losses.masked_fill_(padding, 0.0)
    return losses.sum() / (~padding).sum().clamp(min=1)


def passes_one_input_under_a_mask(output, target, attention_mask):
    return F.mse_loss(output * attention_mask, target)


def passes_a_sum_of_inputs_under_a_mask(output, target, padding_mask):
    keep = output * padding_mask
    total = F.mse_loss(keep, target * padding_mask, reduction="sum")
    return total / padding_mask.sum().clamp(min=1)


def finds_a_sum_over_all_elements(prediction, y, pad_mask):
    losses = F.l1_loss(prediction, y, reduction="none") * pad_mask
    return losses.sum() / losses.numel()  # BP108


def finds_a_sum_over_the_elements_of_the_mask(prediction, y, pad_mask):
    losses = F.l1_loss(prediction, y, reduction="none")
    return torch.sum(losses * pad_mask) / pad_mask.numel()  # BP108


def finds_a_mask_made_of_lengths(prediction, y, lengths):
    mask = torch.arange(y.size(1))[None] < lengths[:, None]
    losses = F.l1_loss(prediction, y, reduction="none")
    return (losses * mask).mean()  # BP108


def finds_a_mask_made_of_padded_targets(logits, y, pad_id):
    mask = y.ne(pad_id).float()
    losses = F.cross_entropy(logits, y, reduction="none")
    return (losses * mask).mean()  # BP108


def finds_zeros_where_targets_are_padding(logits, y, pad_id):
    losses = F.cross_entropy(logits, y, reduction="none")
    return torch.where(y == pad_id, torch.zeros_like(losses), losses).mean()  # BP108


def passes_a_sum_over_all_elements_of_no_mask(prediction, y):
    losses = F.l1_loss(prediction, y, reduction="none")
    return losses.sum() / losses.numel()


def passes_a_mask_made_of_lengths_that_divides(prediction, y, lengths):
    mask = torch.arange(y.size(1))[None] < lengths[:, None]
    losses = F.l1_loss(prediction, y, reduction="none")
    return (losses * mask).sum() / mask.sum()  # BP109 likely


def finds_differences_of_what_is_not_valid(model, loader, optimizer):
    for image, other, valid_points in loader:
        optimizer.zero_grad()
        loss = _photometric(model(image), other, valid_points)
        loss.backward()
        optimizer.step()


def _photometric(warped, other, valid_points):
    diff = (other - warped) * valid_points.unsqueeze(1).float()
    return diff.abs().mean()  # BP108


def passes_differences_over_what_is_valid(model, loader, optimizer):
    for image, other, valid_points in loader:
        optimizer.zero_grad()
        loss = _photometric_of_valid(model(image), other, valid_points)
        loss.backward()
        optimizer.step()


def _photometric_of_valid(warped, other, valid_points):
    diff = (other - warped) * valid_points.unsqueeze(1).float()
    return diff.abs().mean() / valid_points.float().mean()


class MeanOverTheMask(nn.Module):
    def forward(self, scores, targets, keep_mask):
        loss = F.binary_cross_entropy_with_logits(scores, targets, reduction="none") * keep_mask
        return torch.sum(loss) / keep_mask.sum()  # BP109 likely


class MeanBesideAMeanOverItsMask(nn.Module):
    def forward(self, scores, targets, keep_mask):
        loss = F.binary_cross_entropy_with_logits(scores, targets, reduction="none") * keep_mask
        return loss.mean()  # BP108


def finds_a_smoothing_over_all_targets(output, target, eps, ignored):
    scores = F.log_softmax(output, dim=-1)
    loss = -scores.sum(dim=-1)
    loss = loss.mean()  # BP108
    return loss * eps / output.size(-1) + (1 - eps) * F.nll_loss(
        scores, target, ignore_index=ignored
    )


def passes_a_smoothing_over_targets_that_count(output, target, eps, ignored):
    scores = F.log_softmax(output, dim=-1)
    smooth = -scores.sum(dim=-1)[target != ignored].mean()
    return eps * smooth + (1 - eps) * F.nll_loss(scores, target, ignore_index=ignored)


def finds_a_difference_in_one_expression(prediction, target, valid_frames):
    return (torch.abs(prediction - target) * valid_frames).mean()  # BP108


def passes_a_difference_over_what_is_valid(prediction, target, valid_frames):
    total = (torch.abs(prediction - target) * valid_frames).sum()
    return total / valid_frames.sum().clamp(min=1)


def passes_a_difference_under_a_weight(prediction, target, weights):
    return ((prediction - target) ** 2 * weights).mean()


class JointsInSight(nn.Module):
    def __init__(self):
        super().__init__()
        self.criterion = nn.MSELoss()

    def forward(self, output, target, target_weight):
        loss = 0.0
        for joint in range(output.size(1)):
            loss += 0.5 * self.criterion(  # BP108 likely
                output[:, joint].mul(target_weight[:, joint]),
                target[:, joint].mul(target_weight[:, joint]),
            )
        return loss / output.size(1)


class JointsWithWeights(nn.Module):
    def __init__(self):
        super().__init__()
        self.criterion = nn.MSELoss(reduction="sum")

    def forward(self, output, target, target_weight):
        loss = 0.0
        for joint in range(output.size(1)):
            weight = target_weight[:, joint]
            loss += self.criterion(output[:, joint] * weight, target[:, joint] * weight)
        return loss / target_weight.sum().clamp(min=1)


def finds_lengths_that_only_a_model_reads(model, batch):
    text, text_lens, mel, mel_lens = batch
    prediction = model(text, text_lens.cuda(), mel, mel_lens)
    return F.l1_loss(prediction, mel)  # BP108


def finds_lengths_of_tokens(model, loader, optimizer):
    for source, source_len, target, target_len in loader:
        optimizer.zero_grad()
        scores = model(source, source_len, target[:, :-1], target_len)
        loss = F.cross_entropy(scores.view(-1, 100), target[:, 1:].reshape(-1))  # BP108
        loss.backward()
        optimizer.step()


def finds_lengths_of_flat_targets(model, frames, stages, lengths):
    scores = model(frames, lengths)
    return F.cross_entropy(scores.view(-1, 8), stages.view(-1))  # BP108


def passes_lengths_of_the_inputs(model, batch):
    text, text_lens, label = batch
    return F.cross_entropy(model(text, text_lens), label)


def passes_lengths_of_what_is_classified(model, loader, optimizer):
    for text, label, lengths in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(text, lengths), label)
        loss.backward()
        optimizer.step()


def passes_lengths_that_pick(model, batch):
    text, mel, mel_lens = batch
    prediction = model(text)
    losses = [F.l1_loss(p[:n], m[:n]) for p, m, n in zip(prediction, mel, mel_lens, strict=True)]
    return torch.stack(losses).mean()


def passes_lengths_that_make_a_mask(model, batch):
    text, mel, mel_lens = batch
    prediction = model(text) * sequence_mask(mel_lens)
    return F.l1_loss(prediction, mel, reduction="sum") / mel_lens.sum()


def passes_targets_that_say_where_the_end_is(model, batch):
    text, gate, gate_lens = batch
    return F.binary_cross_entropy_with_logits(model(text, gate_lens), gate)


def passes_targets_that_are_unfolded(model, batch):
    text, target, target_lens = batch
    scores = model(text)
    target = unfolded(target, target_lens)
    return F.cross_entropy(scores, target)


def passes_a_target_that_is_ignored(model, batch, pad):
    text, target, target_lens = batch
    scores = model(text, target_lens)
    return F.cross_entropy(scores.view(-1, 100), target.view(-1), ignore_index=pad)


class Speech(nn.Module):
    def __init__(self):
        super().__init__()
        self.distance = nn.MSELoss()

    def forward(self, outputs, targets):
        mel_target, gate_target = targets
        mel, gate = outputs
        loss = self.distance(mel, mel_target)  # BP108
        return loss + F.binary_cross_entropy_with_logits(gate, gate_target)


class Vocoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.distance = nn.L1Loss()

    def forward(self, mel, mel_target):
        return self.distance(mel, mel_target)


class SpeechUnderAMask(nn.Module):
    def __init__(self):
        super().__init__()
        self.distance = nn.MSELoss()

    def forward(self, outputs, targets, mel_mask):
        mel_target, duration_target = targets
        mel, duration = outputs
        mel_target = mel_target.masked_select(mel_mask)
        loss = self.distance(mel.masked_select(mel_mask), mel_target)
        return loss + F.l1_loss(duration, duration_target)


def finds_lengths_that_a_batch_holds_by_key(model, batch):
    prediction = model(batch["text"], batch["text_lens"], batch["mel"], batch["mel_lens"])
    return F.l1_loss(prediction, batch["mel"])  # BP108


def passes_lengths_of_another_name(model, batch):
    longest = batch["mel_lens"]
    prediction = model(batch["text"], longest)
    return F.l1_loss(prediction[:, : longest.max()], batch["mel"])


def passes_a_label_of_a_batch_with_lengths(model, batch):
    return F.cross_entropy(model(batch["text"], batch["text_lens"]), batch["label"])


def _pad_both(samples):
    sources, targets = zip(*samples, strict=True)
    return (
        nn.utils.rnn.pad_sequence(sources, batch_first=True),
        nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=0),
    )


def _pad_with_what_is_ignored(samples):
    sources, targets = zip(*samples, strict=True)
    targets = nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=-100)
    return nn.utils.rnn.pad_sequence(sources, batch_first=True), targets


def _pad_sources(samples):
    sources, labels = zip(*samples, strict=True)
    return nn.utils.rnn.pad_sequence(sources, batch_first=True), torch.stack(labels)


def _copy_rows(samples):
    lengths = [len(tags) for _, tags in samples]
    rows = torch.zeros(len(samples), max(lengths)).long()
    for i, (_, tags) in enumerate(samples):
        rows[i, : lengths[i]] = tags
    return {"words": torch.stack([words for words, _ in samples]), "tags": rows}


class Collator:
    def __init__(self, pad_id):
        self.pad_id = pad_id

    def __call__(self, samples):
        longest = max(len(ids) for ids in samples)
        ids = [self.fill(sample, longest) for sample in samples]
        return torch.tensor(ids)

    def fill(self, ids, longest):
        return ids + [self.pad_id] * (longest - len(ids))


class Tagged(Dataset):
    def __init__(self, rows, width):
        self.rows, self.width = rows, width

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        words, tags = self.rows[index]
        words = F.pad(words, (0, self.width - len(words)))
        tags = F.pad(tags, (0, self.width - len(tags)))
        return words, tags


def finds_a_collator_that_pads_targets(model, data, optimizer):
    for source, target in DataLoader(data, 32, collate_fn=_pad_both):
        ids = target.cuda()
        scores = model(source, ids[:, :-1])
        loss = F.cross_entropy(scores.reshape(-1, 100), ids[:, 1:].reshape(-1))  # BP108
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def finds_a_collator_behind_a_function(model, data, optimizer):
    loader = DataLoader(data, 32, collate_fn=lambda samples: _pad_both(list(samples)))
    criterion = nn.CrossEntropyLoss()
    for batch in loader:
        source, target = [part.cuda() for part in batch]
        loss = criterion(model(source).transpose(1, 2), target)  # BP108
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def finds_rows_that_a_collator_copies(model, data, optimizer):
    for batch in DataLoader(data, 32, collate_fn=_copy_rows):
        scores = model(batch["words"])
        loss = F.cross_entropy(scores.view(-1, 9), batch["tags"].view(-1))  # BP108
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def finds_a_collator_that_is_an_object(model, data, optimizer):
    for ids in DataLoader(data, 32, collate_fn=Collator(0)):
        scores = model(ids[:, :-1])
        loss = F.cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten())  # BP108
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def finds_a_data_set_that_pads(model, rows, optimizer):
    for words, tags in DataLoader(Tagged(rows, 50), batch_size=32):
        loss = F.cross_entropy(model(words).flatten(0, 1), tags.flatten())  # BP108
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def finds_targets_that_a_loop_pads(model, loader, optimizer):
    for samples in loader:
        values = nn.utils.rnn.pad_sequence([sample["values"] for sample in samples])
        loss = F.mse_loss(model(samples), values)  # BP108
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def passes_padding_that_a_criterion_ignores(model, data, optimizer):
    criterion = nn.CrossEntropyLoss(ignore_index=0)
    for source, target in DataLoader(data, 32, collate_fn=_pad_both):
        loss = criterion(model(source).transpose(1, 2), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def passes_padding_that_criteria_ignore_by_themselves(model, data, optimizer):
    for source, target in DataLoader(data, 32, collate_fn=_pad_with_what_is_ignored):
        loss = F.cross_entropy(model(source).transpose(1, 2), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def passes_labels_of_padded_sources(model, data, optimizer):
    for source, label in DataLoader(data, 32, collate_fn=_pad_sources):
        loss = F.cross_entropy(model(source), label)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def passes_padding_that_a_mask_leaves_out(model, data, optimizer):
    for source, target in DataLoader(data, 32, collate_fn=_pad_both):
        real = target != 0
        loss = F.cross_entropy(model(source)[real], target[real])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def passes_padding_that_is_cut_off(model, data, optimizer):
    for source, target in DataLoader(data, 32, collate_fn=_pad_both):
        shortest = int((target != 0).sum(1).min())
        loss = F.mse_loss(model(source)[:, :shortest], target[:, :shortest])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def passes_padding_of_batches_of_one(model, data, optimizer):
    for source, target in DataLoader(data, 1, collate_fn=_pad_both):
        loss = F.cross_entropy(model(source).transpose(1, 2), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def passes_padding_that_the_targets_mark_as_ignored(model, sentences, optimizer):
    for start in range(0, len(sentences), 16):
        rows = nn.utils.rnn.pad_sequence(sentences[start : start + 16], batch_first=True)
        inputs, targets = rows[:, :-1], rows[:, 1:].clone()
        targets[targets == 0] = -100
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class _Entangled(Dataset):
    """Samples whose names are each made of one another, several times."""

    def __getitem__(self, place):
        x, y = self.words[place], self.tags[place]
        x, y = list(x + y), list(y + x)
        x, y = torch.tensor([x, y, x]), torch.tensor([y, x, y])
        x, y = torch.tensor([x, y, x]), torch.tensor([y, x, y])
        x, y = torch.tensor([x, y, x]), torch.tensor([y, x, y])
        return x, y


def passes_samples_that_nothing_pads(model, optimizer):
    for x, y in DataLoader(_Entangled(), batch_size=16):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
