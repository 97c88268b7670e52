"""PyTorch, eager: a module, an optimiser, a loop. Skipped when PyTorch is not installed."""

from __future__ import annotations

from typing import Any

from harness import Variant
from problems import Setting

try:
    import torch
except ImportError:
    torch = None
try:
    import posteriors
except ImportError:
    posteriors = None


def eager(name: str, setting: Setting, steps: int) -> Variant:
    """One chain; the prior is weight decay."""
    torch.set_num_threads(1)
    module = _module(setting)
    x, y = torch.from_numpy(setting.X), torch.from_numpy(setting.y)
    if setting.kind == "network":
        y, loss = y.long(), torch.nn.CrossEntropyLoss()
    elif setting.kind == "logistic":
        y, loss = y[:, None], torch.nn.BCEWithLogitsLoss()
    else:
        y, mse = y[:, None], torch.nn.MSELoss()
        loss = lambda z, t: 0.5 * mse(z, t)  # noqa: E731
    start = [p.detach().clone() for p in module.parameters()]
    decay = setting.prior_precision / setting.num_examples
    optimiser = torch.optim.SGD(module.parameters(), lr=setting.learning_rate, weight_decay=decay)

    def run() -> Any:
        with torch.no_grad():
            for p, p0 in zip(module.parameters(), start, strict=True):
                p.copy_(p0)
        for _ in range(steps):
            index = torch.randint(0, len(x), (setting.batch_size,))
            optimiser.zero_grad()
            loss(module(x[index]), y[index]).backward()
            optimiser.step()
        return _params(setting, module)

    return Variant(name, run, steps)


def sgld(name: str, setting: Setting, steps: int) -> Variant:
    """SGLD of posteriors, one chain, as its guide shows; linear or logistic."""
    torch.set_num_threads(1)
    x, y, n = torch.from_numpy(setting.X), torch.from_numpy(setting.y), setting.num_examples

    def log_posterior(params: Any, batch: Any) -> Any:
        z = batch[0] @ params["w"]
        if setting.kind == "logistic":
            likelihood = (batch[1] * z - torch.nn.functional.softplus(z)).mean()
        else:
            likelihood = -0.5 * ((z - batch[1]) ** 2).mean()
        return likelihood - 0.5 * setting.prior_precision * (params["w"] ** 2).sum() / n, torch.tensor([])

    transform = posteriors.sgmcmc.sgld.build(log_posterior, lr=setting.learning_rate, temperature=1 / n)

    def run() -> Any:
        state = transform.init({"w": torch.zeros(x.shape[1])})
        for _ in range(steps):
            index = torch.randint(0, n, (setting.batch_size,))
            state, _ = transform.update(state, (x[index], y[index]))
        return state.params["w"].numpy()

    return Variant(name, run, steps)


def _module(setting: Setting) -> Any:
    if setting.kind != "network":
        module = torch.nn.Linear(setting.X.shape[1], 1, bias=False)
        torch.nn.init.zeros_(module.weight)
        return module
    module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 10))
    init = setting.problem.init
    with torch.no_grad():
        for layer, leaf in zip((module[0], module[2]), (init["layer0"], init["layer1"]), strict=True):
            layer.weight.copy_(torch.from_numpy(leaf["weight"].T.copy()))
            layer.bias.copy_(torch.from_numpy(leaf["bias"]))
    return module


def _params(setting: Setting, module: Any) -> Any:
    leaves = [p.detach().numpy().copy() for p in module.parameters()]
    if setting.kind != "network":
        return leaves[0]
    layers = ({"weight": w.T[None], "bias": b[None]} for w, b in zip(leaves[::2], leaves[1::2], strict=True))
    return dict(zip(("layer0", "layer1"), layers, strict=True))
