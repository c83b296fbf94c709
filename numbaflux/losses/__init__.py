"""Losses: loss(prediction, target) -> scalar. Shapes must be equal; class labels are one axis short.

agg, a function, takes the losses of elements, or of samples where the last axis is that of classes, to the loss: the
mean unless told; identity keeps them. An eps of None, added before a logarithm, is the dtype's own (1.2e-7 for
float32); 0 leaves it out.
"""

from .classes import crossentropy, focal_loss, kldivergence, label_smoothing, logitcrossentropy, nll_loss
from .ctc import ctc_loss
from .distances import cosine_embedding_loss, margin_ranking_loss, triplet_margin_loss
from .numbers import (
    gaussian_nll_loss,
    hinge_loss,
    huber_loss,
    mae,
    mse,
    msle,
    poisson_loss,
    quantile_loss,
    siamese_contrastive_loss,
    squared_hinge_loss,
)
from .targets import xlogx, xlogy
from .two_classes import (
    binary_focal_loss,
    binarycrossentropy,
    dice_coeff_loss,
    logitbinarycrossentropy,
    tversky_loss,
)

LOSSES = (
    mae, mse, msle, huber_loss, quantile_loss, poisson_loss, hinge_loss, squared_hinge_loss, siamese_contrastive_loss,
    binarycrossentropy, logitbinarycrossentropy, binary_focal_loss, dice_coeff_loss, tversky_loss, crossentropy,
    logitcrossentropy, nll_loss, kldivergence, focal_loss, gaussian_nll_loss, margin_ranking_loss,
    cosine_embedding_loss, triplet_margin_loss, ctc_loss,
)  # fmt: skip

# fmt: off
__all__ = [
    "LOSSES", "binary_focal_loss", "binarycrossentropy", "cosine_embedding_loss", "crossentropy", "ctc_loss",
    "dice_coeff_loss", "focal_loss", "gaussian_nll_loss", "hinge_loss", "huber_loss", "kldivergence", "label_smoothing",
    "logitbinarycrossentropy", "logitcrossentropy", "mae", "margin_ranking_loss", "mse", "msle", "nll_loss",
    "poisson_loss", "quantile_loss", "siamese_contrastive_loss", "squared_hinge_loss", "triplet_margin_loss",
    "tversky_loss", "xlogx", "xlogy",
]
