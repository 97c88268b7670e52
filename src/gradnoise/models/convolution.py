"""A small convolutional network for images as a problem."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from gradnoise import _checks
from gradnoise._types import ArrayLike
from gradnoise.models import arguments
from gradnoise.models import likelihoods as densities
from gradnoise.problem import Problem
from gradnoise.stream import seed_of

KERNEL = 3


@dataclass(frozen=True)
class ConvolutionalNetwork:
    """Outputs (..., K): 3x3 convolutions without padding, each followed by 2x2 average pooling, then one dense layer."""

    activation: str
    image_shape: tuple[int, int, int]

    def __call__(self, params: Any, inputs: Any) -> Any:
        """Apply the layers to images (..., H·W·C)."""
        *hidden, last = (params[f"layer{i}"] for i in range(len(params)))
        image = inputs.reshape(*inputs.shape[:-1], *self.image_shape)
        for layer in hidden:
            # patches times a matrix: on a processor several times quicker than a convolution over chains and examples
            image = _patches(image) @ layer["weight"] + layer["bias"]
            image = _pooled(densities.ACTIVATIONS[self.activation](image))
        flat = image.reshape(*image.shape[:-3], -1)
        return flat @ last["weight"] + last["bias"]


def _patches(image: Any) -> Any:
    """Return the 3x3 neighbourhoods (..., H-2, W-2, 9 C) of images (..., H, W, C)."""
    high, wide = image.shape[-3] - KERNEL + 1, image.shape[-2] - KERNEL + 1
    shifted = [image[..., i : i + high, j : j + wide, :] for i in range(KERNEL) for j in range(KERNEL)]
    return jnp.concatenate(shifted, axis=-1)


def _pooled(image: Any) -> Any:
    """Return means over 2x2 blocks; an odd last row or column is dropped."""
    high, wide = image.shape[-3] // 2, image.shape[-2] // 2
    cut = image[..., : 2 * high, : 2 * wide, :]
    return cut.reshape(*cut.shape[:-3], high, 2, wide, 2, cut.shape[-1]).mean((-4, -2))


def convolutional(
    X: ArrayLike,
    y: ArrayLike,
    channels: int | tuple[int, ...] = (8, 16),
    *,
    image_shape: tuple[int, ...],
    activation: str = "relu",
    prior_scale: float = 1.0,
    num_classes: int | None = None,
    key: Any = 0,
) -> Problem:
    """Return a small convolutional classifier; all weights and biases ~ N(0, prior_scale²).

    Parameters
    ----------
    X
        Images as rows, (N, H·W·C).
    y, num_classes
        As in `softmax_regression`.
    channels
        Channels after each 3x3 convolution and 2x2 average pooling; a number alone is one layer.
    image_shape
        (H, W) or (H, W, C).
    activation
        "tanh" or "relu".
    key
        int or JAX key of the initial weights, normal with variance 1/fan-in (2/fan-in for "relu"); biases start at 0.

    Raises
    ------
    ValueError
        If a row does not have H·W·C numbers, or the images are too small for so many layers.

    Examples
    --------
    >>> convolutional(np.zeros((5, 64)), [0, 1, 2, 0, 1], channels=(4,), image_shape=(8, 8)).num_params
    151
    """
    network = ConvolutionalNetwork(_checks.one_of("activation", activation, densities.ACTIVATIONS), _shape(image_shape))
    inputs, _ = arguments.design(X, False, None)
    if inputs.shape[1] != math.prod(network.image_shape):
        msg = f"image_shape must have {inputs.shape[1]} numbers, as the rows of X, got {network.image_shape}."
        raise ValueError(msg)
    targets, outputs = arguments.classes(y, len(inputs), num_classes)
    widths = _checks.integers("channels", channels)
    random, gain = np.random.default_rng(seed_of(key)), 2.0 if activation == "relu" else 1.0
    init = {}
    for layer, (fan_in, fan_out) in enumerate(_fans(network.image_shape, widths, outputs)):
        weight = random.normal(size=(fan_in, fan_out)) * math.sqrt(gain / fan_in)
        init[f"layer{layer}"] = {"weight": weight.astype(inputs.dtype), "bias": np.zeros(fan_out, inputs.dtype)}
    return Problem(
        densities.NetworkLogLikelihood(network, "softmax"),
        arguments.data(inputs, targets, None),
        init,
        densities.normal_log_prior,
        hyperparams={"prior_precision": arguments.precision(1, prior_scale, False, None)[0]},
        predict=densities.NetworkPredict(network, "softmax"),
        sample=densities.NetworkSample(network, "softmax"),
    )


def _shape(image_shape: Any) -> tuple[int, int, int]:
    sizes = _checks.integers("image_shape", image_shape)
    if len(sizes) not in (2, 3):
        msg = f"image_shape must be (H, W) or (H, W, C), got {image_shape!r}."
        raise ValueError(msg)
    return (sizes[0], sizes[1], sizes[2] if len(sizes) == 3 else 1)


def _fans(shape: tuple[int, int, int], channels: tuple[int, ...], outputs: int) -> list[tuple[int, int]]:
    """Numbers into and out of each layer."""
    high, wide, depth = shape
    fans: list[tuple[int, int]] = []
    for width in channels:
        high, wide = (high - KERNEL + 1) // 2, (wide - KERNEL + 1) // 2
        if high < 1 or wide < 1:
            msg = f"channels must have fewer layers: images of {shape[:2]} are used up before layer {len(fans) + 1}."
            raise ValueError(msg)
        fans.append((KERNEL * KERNEL * depth, width))
        depth = width
    return [*fans, (high * wide * depth, outputs)]
