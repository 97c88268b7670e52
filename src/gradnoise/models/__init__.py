"""Ready-made problems: linear, logistic, softmax and Poisson regression, and a multilayer perceptron.

Every density is a module-level function, with its constants, and reads prior precisions and scales from `hyperparams`,
whose numbers are traced: another prior scale, or other data of the same shape, compiles nothing. `predict` and `sample` get
`hyperparams` as their last argument, like the densities.
"""

from gradnoise.models.convolution import convolutional
from gradnoise.models.network import mlp
from gradnoise.models.regression import linear_regression, logistic_regression, poisson_regression, softmax_regression
from gradnoise.models.residuals import residual_scale
from gradnoise.models.robust import robust_linear_regression

__all__ = [
    "convolutional",
    "linear_regression",
    "logistic_regression",
    "mlp",
    "poisson_regression",
    "residual_scale",
    "robust_linear_regression",
    "softmax_regression",
]
