"""Evaluations that record a graph which nobody uses."""

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd import Variable


def _train(model, loader, optimizer):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def finds_an_evaluation_beside_training(model, train_loader, val_loader, optimizer):
    for _ in range(3):
        _train(model, train_loader, optimizer)
        model.eval()
        right = 0
        for x, y in val_loader:
            right += (model(x).argmax(1) == y).sum().item()  # BP405
        print(right)


def finds_a_loss(model, train_loader, val_loader, optimizer):
    _train(model, train_loader, optimizer)
    model.eval()
    total = 0.0
    for x, y in val_loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()  # BP405
    return total / len(val_loader.dataset)


def finds_what_is_likely(model, loader):
    model.eval()
    total = 0.0
    for x, y in loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()  # BP405 likely
    return total / len(loader.dataset)


def finds_train_false(model, train_loader, val_loader, optimizer):
    _train(model, train_loader, optimizer)
    model.train(False)
    right = 0
    for x, y in val_loader:
        right += (model(x).argmax(1) == y).sum().item()  # BP405
    return right


def finds_a_context_that_has_ended(model, train_loader, val_loader, optimizer):
    _train(model, train_loader, optimizer)
    model.eval()
    with torch.no_grad():
        print(sum(p.norm() for p in model.parameters()))
    right = 0
    for x, y in val_loader:
        right += (model(x).argmax(1) == y).sum().item()  # BP405
    return right


class Finds:
    def finds_in_a_method(self, loader):
        self.model.eval()
        right = 0
        for x, y in loader:
            right += (self.model(x).argmax(1) == y).sum().item()  # BP405 likely
        return right


def finds_enable_grad(model, loader):
    model.eval()
    right = 0
    with torch.set_grad_enabled(True):
        for x, y in loader:
            right += (model(x).argmax(1) == y).sum().item()  # BP405
    return right


def finds_a_list_of_outputs(model, train_loader, val_loader, optimizer):
    _train(model, train_loader, optimizer)
    model.eval()
    outputs = []
    for x, _ in val_loader:
        outputs.append(model(x).cpu())  # BP405
    return torch.cat(outputs)


def passes_no_grad(model, train_loader, val_loader, optimizer):
    _train(model, train_loader, optimizer)
    model.eval()
    right = 0
    with torch.no_grad():
        for x, y in val_loader:
            right += (model(x).argmax(1) == y).sum().item()
    return right


@torch.no_grad()
def passes_a_decorator(model, loader):
    model.eval()
    right = 0
    for x, y in loader:
        right += (model(x).argmax(1) == y).sum().item()
    return right


@torch.inference_mode()
def passes_inference_mode(model, loader):
    model.eval()
    return [model(x) for x, _ in loader]


def passes_a_caller_that_switches_it_off(model, train_loader, val_loader, optimizer):
    _train(model, train_loader, optimizer)
    with torch.no_grad():
        return _right(model, val_loader)


def _right(model, loader):
    model.eval()
    right = 0
    for x, y in loader:
        right += (model(x).argmax(1) == y).sum().item()
    return right


def passes_set_grad_enabled(model, loader):
    torch.set_grad_enabled(False)
    model.eval()
    right = 0
    for x, y in loader:
        right += (model(x).argmax(1) == y).sum().item()
    return right


def passes_an_attack_on_the_inputs(model, loader):
    model.eval()
    for x, y in loader:
        x.requires_grad_(True)
        loss = F.cross_entropy(model(x), y)
        (gradient,) = torch.autograd.grad(loss, x)
        print(gradient.norm())


def passes_fine_tuning_with_frozen_statistics(model, loader, optimizer):
    model.eval()
    for x, y in loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def passes_a_guard_within(model, loader):
    model.eval()
    right = 0
    for x, y in loader:
        with torch.no_grad():
            right += (model(x).argmax(1) == y).sum().item()
    return right


def passes_a_phase(model, loaders, optimizer):
    for phase in ["train", "val"]:
        model.train(phase == "train")
        for x, y in loaders[phase]:
            optimizer.zero_grad()
            with torch.set_grad_enabled(phase == "train"):
                loss = F.mse_loss(model(x), y)
                if phase == "train":
                    loss.backward()
                    optimizer.step()


def passes_the_switch_of_old_versions(model, train_loader, val_loader, optimizer, Variable):
    _train(model, train_loader, optimizer)
    model.eval()
    right = 0
    for x, y in val_loader:
        output = model(Variable(x, volatile=True))
        right += (output.data.max(1)[1] == y).sum()
    return right


def smart_inference_mode():
    return lambda function: function


@smart_inference_mode()
def passes_a_decorator_by_its_name(model, train_loader, val_loader, optimizer):
    model.eval()
    return [model(x) for x, y in val_loader]


def finds_an_evaluation_without_a_mode(model, train_loader, val_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    total = count = 0
    for x, y in val_loader:
        total += F.mse_loss(model(x), y, reduction="sum").item()  # BP405
        count += len(x)
    return total / count


def finds_the_mode_of_training_switched_off(model, val_loader):
    model.train(False)
    total = 0.0
    for x, y in val_loader:
        total += F.mse_loss(model.forward(x), y, reduction="sum").item()  # BP405 likely
    return total / len(val_loader.dataset)


def finds_a_method_of_the_model(model, train_loader, val_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        F.mse_loss(model.encode(x), y).backward()
        optimizer.step()
    model.eval()
    total = 0.0
    for x, y in val_loader:
        total += F.mse_loss(model.encode(x), y, reduction="sum").item()  # BP405 likely
    return total / len(val_loader.dataset)


def passes_losses_of_held_out_data_that_train(model, val_loader, optimizer):
    total = 0.0
    for x, y in val_loader:
        total = total + F.mse_loss(model(x), y)
    total.backward()
    optimizer.step()


def passes_a_method_that_may_switch_autograd_off(model, train_loader, val_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    model.eval()
    return [model.generate(x) for x, y in val_loader]


def misses_a_mode_that_is_set_elsewhere(model, loader):
    right = 0
    for x, y in loader:
        right += (model(x).argmax(1) == y).sum().item()  # missed BP405
    return right


def misses_one_large_batch(model, x, y):
    model.eval()
    return F.mse_loss(model(x), y).item()  # missed BP405


def _attack(model, x, y):
    with torch.enable_grad():
        x.requires_grad_()
        loss = F.cross_entropy(model(x), y)
    return x + torch.autograd.grad(loss, [x])[0].sign()


def passes_an_attack_inside_no_grad(model, loader):
    model.eval()
    right = 0
    with torch.no_grad():
        for x, y in loader:
            right += (model(_attack(model, x, y)).argmax(1) == y).sum().item()
    return right


def _step(model, x, *, training):
    return model(Variable(x, volatile=not training))


def passes_the_volatile_of_old_in_a_function(model, loader):
    model.eval()
    return [_step(model, x, training=False) for x, _ in loader]


def passes_the_gradients_of_an_evaluation(model, loader, grad):
    model.eval()
    sizes = []
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        sizes.append(grad(loss, list(model.parameters()))[0].norm().item())
    return sizes


def _run(model, loader, optimizer, *, train):
    context = torch.enable_grad() if train else torch.no_grad()
    total = 0.0
    with context:
        for x, y in loader:
            loss = F.cross_entropy(model(x), y, reduction="sum")
            if train:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            total += loss.item()
    return total / len(loader.dataset)


def passes_a_context_that_a_name_holds(model, train_loader, val_loader, optimizer):
    model.train()
    _run(model, train_loader, optimizer, train=True)
    model.eval()
    return _run(model, val_loader, optimizer, train=False)


def finds_batches_of_a_function_out_of_sight(model, train_data, val_data, optimizer, get_batches):
    for x, y in get_batches(train_data, 32):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    model.eval()
    losses = []
    for x, y in get_batches(val_data, 32):
        losses.append(F.cross_entropy(model(x), y, reduction="sum").item())  # BP405
    return sum(losses) / len(val_data)


def passes_a_call_that_yields_no_batches(model, images, scales_of):
    model.eval()
    areas = []
    for scale in scales_of(images):
        areas.append(model(images * scale).sum())
    return torch.stack(areas)


class UnpacksItsLoaders:
    def __init__(self, model, loaders):
        self.model = model
        self.train_loader, self.val_loader = loaders

    def finds_a_loader_that_was_unpacked(self):
        self.model.eval()
        correct = 0
        for x, y in self.val_loader:
            correct += (self.model(x).argmax(1) == y).sum().item()  # BP405 likely
        return correct

    def passes_a_loader_that_was_unpacked(self):
        self.model.eval()
        correct = 0
        with torch.no_grad():
            for x, y in self.val_loader:
                correct += (self.model(x).argmax(1) == y).sum().item()
        return correct


def finds_a_second_pass_over_the_training_data(model, train_loader, optimizer):
    for _ in range(3):
        for x, y in train_loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        right = 0
        for x, y in train_loader:
            optimizer.zero_grad()
            right += (model(x).argmax(1) == y).sum().item()  # BP405
        print(right)


def passes_a_second_pass_without_gradients(model, train_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    right = 0
    with torch.inference_mode():
        for x, y in train_loader:
            right += (model(x).argmax(1) == y).sum().item()
    print(right)


def passes_losses_that_are_back_propagated_together(model, train_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    losses, right = [], 0
    for x, y in train_loader:
        output = model(x)
        losses.append(F.mse_loss(output, y))
        right += (output.argmax(1) == y).sum().item()
    optimizer.zero_grad()
    torch.stack(losses).sum().backward()
    print(right)


def passes_a_last_loss_that_is_back_propagated(model, train_loader, optimizer):
    for x, y in train_loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    total = 0.0
    for x, y in train_loader:
        loss = F.mse_loss(model(x), y, reduction="sum")
        total += loss.item()
    print(total)
    loss.backward()


def passes_outputs_that_something_out_of_sight_is_given(model, train_loader, optimizer, bank):
    for x, y in train_loader:
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    right = 0
    for x, y in train_loader:
        output = model(x)
        bank.update(output)
        right += (output.argmax(1) == y).sum().item()
    print(right)


def _log_rmse(model, x, y):
    output = torch.clamp(model(x), 1, float("inf"))  # BP405
    return torch.sqrt(F.mse_loss(torch.log(output), torch.log(y))).item()


def finds_a_function_that_returns_numbers(model, train_loader, optimizer, features, targets):
    for _ in range(3):
        for x, y in train_loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        print(_log_rmse(model, features, targets))


def _log_rmse_without(model, x, y):
    with torch.no_grad():
        output = torch.clamp(model(x), 1, float("inf"))
    return torch.sqrt(F.mse_loss(torch.log(output), torch.log(y))).item()


def passes_a_function_that_switches_autograd_off(model, train_loader, optimizer, given, targets):
    for _ in range(3):
        for x, y in train_loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        print(_log_rmse_without(model, given, targets))


def _penalty(model, x, y):
    return F.mse_loss(model(x), y, reduction="sum")


def passes_a_function_whose_loss_is_back_propagated(model, train_loader, optimizer, held, targets):
    for _ in range(3):
        for x, y in train_loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        optimizer.zero_grad()
        _penalty(model, held, targets).backward()
        optimizer.step()


def passes_a_model_of_lightning_that_is_frozen(model, train_loader, val_loader, optimizer):
    _train(model, train_loader, optimizer)
    model.freeze()
    model.eval()
    right = 0
    for x, y in val_loader:
        right += (model(x).argmax(1) == y).sum().item()
    print(right)


def finds_inputs_alone_without_gradients(model, train_loader, val_loader, optimizer):
    _train(model, train_loader, optimizer)
    model.eval()
    total = 0.0
    for x, y in val_loader:
        with torch.no_grad():
            inputs = Variable(x)
        total += F.mse_loss(model(inputs), y, reduction="sum").item()  # BP405
    return total / len(val_loader.dataset)


def _fit(model, features, targets, optimizer):
    for _ in range(3):
        model.train()
        optimizer.zero_grad()
        F.mse_loss(model(features), targets).backward()
        optimizer.step()


def _test(model, features, targets):
    model.eval()
    output = model(features)  # BP405
    print(F.mse_loss(output, targets).item())


def _predict(model, features):
    model.eval()
    return model(features)


def finds_an_evaluation_of_all_samples_at_once(model, features, targets, optimizer):
    _fit(model, features, targets, optimizer)
    _test(model, features, targets)


def passes_outputs_that_leave_with_their_graphs(model, features, targets, optimizer):
    _fit(model, features, targets, optimizer)
    print(_predict(model, features).shape)


def finds_windows_of_a_text(model, criterion, text, hidden, optimizer, repackage_hidden):
    for _ in range(3):
        optimizer.zero_grad()
        criterion(model(text[:20], hidden), text[1:21]).backward()
        optimizer.step()
    print(_perplexity(model, criterion, text, hidden, repackage_hidden))


def _perplexity(model, criterion, text, hidden, repackage_hidden):
    model.eval()
    total = 0.0
    for i in range(0, len(text), 20):
        output, hidden = model(text[i : i + 20], hidden)  # BP405
        total += float(criterion(output, text[i + 1 : i + 21])) * 20
        hidden = repackage_hidden(hidden)
    return total / len(text)


def finds_a_step_on_held_out_data(model, train_loader, val_loader, optimizer):
    for _ in range(3):
        _train(model, train_loader, optimizer)
        model.eval()
        for x, y in val_loader:
            loss = F.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()  # BP405


def passes_a_search_over_held_out_data(model, train_loader, val_loader, optimizer):
    for _ in range(3):
        _train(model, train_loader, optimizer)
        model.train()
        for x, y in val_loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()


def passes_embeddings_that_a_guarded_model_is_given(model, train_loader, val_loader, optimizer):
    embed = torch.nn.Embedding(10, 4)
    softmax = torch.nn.Softmax(dim=1)
    _train(model, train_loader, optimizer)
    model.eval()
    right = 0
    for x, y in val_loader:
        given = embed(x)
        with torch.no_grad():
            output = model(given)
        right += (softmax(output).argmax(1) == y).sum().item()
    print(right)


def passes_a_step_of_the_other_phase(model, train_loader, val_loader, optimizer, phase):
    _train(model, train_loader, optimizer)
    if phase == "train":
        model.train()
    else:
        model.eval()
    for x, y in val_loader:
        loss = F.mse_loss(model(x), y)
        if phase == "train":
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def finds_phases_of_one_loop(model, loaders, splits, optimizer):
    for split in splits:
        if split == "train":
            model.train()
        else:
            model.eval()
        for x, y in loaders[split]:
            loss = F.cross_entropy(model(x), y)  # BP405
            if split == "train":
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()


def passes_phases_that_switch_autograd(model, loaders, splits, optimizer):
    for split in splits:
        if split == "train":
            model.train()
        else:
            model.eval()
        for x, y in loaders[split]:
            with torch.set_grad_enabled(split == "train"):
                loss = F.cross_entropy(model(x), y)
            if split == "train":
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()


def passes_phases_that_all_train(model, loaders, splits, optimizer):
    for split in splits:
        if split == "train":
            model.train()
        else:
            model.eval()  # fits the rest with frozen statistics
        for x, y in loaders[split]:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()


def finds_outputs_that_are_detached(model, loader):
    model.eval()
    answers = []
    for x, _ in loader:
        answers.append(model(x).detach().cpu().numpy())  # BP405
    return answers


def finds_a_module_by_its_mode(fcn, testloader):
    fcn.eval()
    found = []
    for x, y in testloader:
        found.append(fcn(x).detach().argmax(1))  # BP405
    return found


def finds_a_model_by_its_mode(fcn, train_loader, val_loader, optimizer):
    for x, y in train_loader:
        fcn.train()
        optimizer.zero_grad()
        F.cross_entropy(fcn(x), y).backward()
        optimizer.step()
    fcn.eval()
    right = 0
    for x, y in val_loader:
        right += (fcn(x).argmax(1) == y).sum().item()  # BP405
    print(right)


def guarded_pass(model, x):
    with torch.no_grad():
        return model(x)


def passes_what_a_guarded_model_is_given(model, encoder, loader):
    model.eval()
    correct = 0
    for x, y in loader:
        correct += (guarded_pass(model, encoder(x)).argmax(1) == y).sum().item()
    return correct


def finds_an_evaluation_of_each_node_beside_training(model, loader, optimizer, nodes):
    found = {}
    for _ in range(3):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        model.eval()
        for node in nodes:
            output = model(node)  # BP405
            found[node] = output.detach().numpy()
    return found


def passes_nodes_whose_outputs_are_kept(model, loader, optimizer, nodes, bank):
    for _ in range(3):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
        model.eval()
        for node in nodes:
            bank.keep(node, model(node))


def passes_a_test_of_a_model(self, model, x):
    model.eval()
    outputs = []
    for scale in (1, 2):
        outputs.append(model(x * scale))
    self.assertEqual(outputs[0].shape, outputs[1].shape)  # noqa: PT009


def finds_a_filter_for_weights_that_train(model, train_loader, val_loader):
    optimizer = torch.optim.Adam(filter(lambda p: p.requires_grad, model.parameters()))
    _train(model, train_loader, optimizer)
    model.eval()
    right = 0
    for x, y in val_loader:
        right += (model(x).argmax(1) == y).sum().item()  # BP405
    print(right)


def _predict_windows(model, windows):
    outputs = []
    for start in range(0, len(windows), 16):
        outputs.append(model(windows[start : start + 16]).data.numpy())  # BP405
    return outputs


def finds_predictions_without_a_mode(model, loader, windows, optimizer):
    for epoch in range(3):
        for x, y in loader:
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
        print(epoch, _predict_windows(model, windows))


def finds_draws_after_training(model, steps, draw, windows, optimizer):
    for _ in range(steps):
        x, y = draw()
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
    outputs = []
    for _ in range(10):
        output, _ = model(windows)  # BP405
        outputs.append(output.data.numpy())
    return outputs


def passes_actions_whose_probabilities_are_kept(policy_net, states, steps, optimizer):
    for _ in range(steps):
        kept = []
        for state in states:
            scores = policy_net(state)
            kept.append(scores.max())
            print(scores.argmax().item())
        optimizer.zero_grad()
        torch.stack(kept).sum().backward()
        optimizer.step()


def passes_batches_that_move_statistics(model, train_loader, optimizer):
    _train(model, train_loader, optimizer)
    for x, _ in train_loader:
        model(x)


def passes_a_context_for_evaluations(model, train_loader, val_loader, optimizer, eval_mode):
    _train(model, train_loader, optimizer)
    right = 0
    with eval_mode(model):
        for x, y in val_loader:
            right += (model(x).argmax(1) == y).sum().item()
    print(right)


def finds_scores_beside_training_that_scales_its_gradients(model, graphs, optimizer, epochs):
    for _ in range(epochs):
        model.train()
        optimizer.zero_grad()
        for x, y in zip(graphs.inputs, graphs.targets, strict=True):
            F.mse_loss(model(x), y).backward()
        for weight in model.parameters():
            weight.grad /= len(graphs.inputs)
        optimizer.step()
        model.eval()
        total = 0
        for x, y in zip(graphs.inputs, graphs.targets, strict=True):
            out = model(x)  # BP405
            total += F.mse_loss(out, y).item()
        print(total)


class Adapted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(8, 8))

    def forward(self, x, y, queries):
        loss = F.mse_loss(x @ self.weight, y)
        (slope,) = torch.autograd.grad(loss, self.weight)
        return queries @ (self.weight - 0.01 * slope)


def passes_a_model_that_adapts_itself(loader):
    model = Adapted()
    model.eval()
    right = 0
    for x, y, queries, targets in loader:
        right += (model(x, y, queries).argmax(1) == targets).sum().item()
    print(right)


def finds_held_out_data_between_steps(model, train_loader, x_test, y_test, optimizer):
    for step, (x, y) in enumerate(train_loader):
        output = model(x)
        loss = F.cross_entropy(output, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            output = model(x_test)  # BP405
            print((output.argmax(1) == y_test).float().mean().item())


def passes_held_out_data_whose_loss_is_trained_on(model, x_train, y_train, x_val, y_val, optimizer):
    for _ in range(100):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x_train), y_train)
        loss = loss + F.mse_loss(model(x_val), y_val)
        print(loss.item())
        loss.backward()
        optimizer.step()


class _Spectrum(torch.nn.Module):
    def __init__(self, size=512):
        super().__init__()
        self.size = size
        self.register_buffer("window", torch.hann_window(size))

    def forward(self, x):
        return torch.stft(x, self.size, window=self.window, return_complex=True).abs()


def passes_a_transform_without_weights(train_loader, test_loader, model, optimizer):
    spectrum = _Spectrum().eval()
    levels = []
    for x, _ in test_loader:
        levels.append(spectrum(x).mean().item())
    for x, y in train_loader:
        optimizer.zero_grad()
        F.mse_loss(model(spectrum(x)), y).backward()
        optimizer.step()
    return levels


class _Learned(torch.nn.Module):
    def __init__(self, size=512):
        super().__init__()
        self.window = torch.nn.Parameter(torch.ones(size))

    def forward(self, x):
        return (x * self.window).sum(1)


def finds_a_transform_that_learns(train_loader, test_loader, optimizer):
    weighted, levels = _Learned(), []
    for x, y in train_loader:
        optimizer.zero_grad()
        F.mse_loss(weighted(x), y).backward()
        optimizer.step()
    weighted.eval()
    for x, _ in test_loader:
        levels.append(weighted(x).mean().item())  # BP405
    return levels


def passes_a_similarity(model, pairs_loader, train_loader, optimizer):
    cosine, levels = torch.nn.CosineSimilarity(), []
    _train(model, train_loader, optimizer)
    model.eval()
    for x, y in pairs_loader:
        levels.append(cosine(x, y).mean().item())
    return levels


_graph = torch.nn.Linear(8, 2)
_adam = torch.optim.Adam(_graph.parameters())


def finds_a_whole_graph_after_its_step(nodes, labels, train_ids, val_ids, epochs):
    def epoch_of():
        _graph.train()
        _adam.zero_grad()
        output = _graph(nodes)
        loss = F.cross_entropy(output[train_ids], labels[train_ids])
        loss.backward()
        _adam.step()
        _graph.eval()
        output = _graph(nodes)  # BP405
        val_loss = F.cross_entropy(output[val_ids], labels[val_ids])
        print(loss.item(), val_loss.item())

    for _ in range(epochs):
        epoch_of()


def passes_a_whole_graph_without_autograd(nodes, labels, train_ids, val_ids, epochs):
    def epoch_of():
        _graph.train()
        _adam.zero_grad()
        output = _graph(nodes)
        F.cross_entropy(output[train_ids], labels[train_ids]).backward()
        _adam.step()
        _graph.eval()
        with torch.no_grad():
            output = _graph(nodes)
        print(F.cross_entropy(output[val_ids], labels[val_ids]).item())

    for _ in range(epochs):
        epoch_of()


def passes_a_second_loss_after_the_step(nodes, labels, train_ids, val_ids, epochs):
    def epoch_of():
        _graph.train()
        _adam.zero_grad()
        F.cross_entropy(_graph(nodes)[train_ids], labels[train_ids]).backward()
        _adam.step()
        _graph.eval()
        _adam.zero_grad()
        F.cross_entropy(_graph(nodes)[val_ids], labels[val_ids]).backward()
        _adam.step()

    for _ in range(epochs):
        epoch_of()


class GuardsUnlessItCannot:
    def __init__(self, model, loader, criterion, differentiable):
        self.model, self.loader, self.criterion = model, loader, criterion
        self.differentiable = differentiable

    def passes_a_model_that_needs_a_graph(self):
        self.model.eval()
        if not self.differentiable:
            with torch.no_grad():
                return self._losses()
        else:
            return self._losses()

    def _losses(self):
        return [self.criterion(self.model(x), y).item() for x, y in self.loader]


class MakesItsSteps:
    def __init__(self, model, criterion, optimizer):
        self.model, self.criterion, self.optimizer = model, criterion, optimizer
        self.train_loader = self.val_loader = None
        self.train_step, self.val_step = self._make_train_step(), self._make_val_step()

    def set_loaders(self, train_loader, val_loader):
        self.train_loader, self.val_loader = train_loader, val_loader

    def _make_train_step(self):
        def step(x, y):
            self.model.train()
            loss = self.criterion(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            return loss.item()

        return step

    def _make_val_step(self):
        def look(x, y):
            self.model.eval()
            return self.criterion(self.model(x), y).item()

        return look

    def _pass(self, validation=False):
        loader, step = self.train_loader, self.train_step
        if validation:
            loader, step = self.val_loader, self.val_step
        if loader is None:
            return None
        return np.mean([step(x, y) for x, y in loader])  # BP201 likely

    def passes_a_step_that_its_caller_guards(self, epochs):
        for _ in range(epochs):
            self._pass()
            with torch.no_grad():
                self._pass(validation=True)


def finds_a_test_set_after_training(x_train, y_train, x_test, y_test, optimizer):
    net = torch.nn.Linear(8, 2)
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(net(x_train), y_train).backward()
        optimizer.step()
    scores = net(torch.tensor(x_test).float())  # BP405 likely
    print((scores.argmax(1) == y_test).float().mean().item())


def passes_scores_of_a_test_set_that_are_returned(x_train, y_train, x_test, optimizer):
    net = torch.nn.Linear(8, 2)
    for _ in range(100):
        optimizer.zero_grad()
        F.cross_entropy(net(x_train), y_train).backward()
        optimizer.step()
    return net(x_test)
