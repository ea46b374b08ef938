"""Theano ops on blocked tensors, run by the native library.

A blocked tensor is a 5-D float32 array (N, ceil(C / B), H, W, B) that holds an (N, C, H, W) tensor
with its channels in blocks of B = `library.block()`, 8 or 16, filled up with zeros: the innermost
dimension is one vector register. The ops know as much of C as their weights tell them.

They have no gradients: the rewrites that introduce them (`rewrites`) work on graphs that have been
differentiated.
"""

from backend.onednn.ops.adam import AdamStep
from backend.onednn.ops.basics import Blocked, FromBlocked, Op, ToBlocked
from backend.onednn.ops.convolutions import Conv, ConvInputGradient, ConvWeightGradient
from backend.onednn.ops.losses import BatchedProduct, Gram, GramGradient, SquaredDifference, SquaredDifferenceGradient
from backend.onednn.ops.norms import BatchMoments, LINEAR, MappedNorm, Norm, NormGradient, RECTIFY, SIGMOID, TANH
from backend.onednn.ops.pointwise import Add, Rectify, RectifyGradient
from backend.onednn.ops.sampling import (
    AveragePool,
    AveragePoolGradient,
    Expand,
    ExpandGradient,
    MaxPool,
    MaxPoolGradient,
)

__all__ = [
    'Blocked',
    'Op',
    'ToBlocked',
    'FromBlocked',
    'Conv',
    'ConvInputGradient',
    'ConvWeightGradient',
    'LINEAR',
    'RECTIFY',
    'SIGMOID',
    'TANH',
    'Norm',
    'BatchMoments',
    'MappedNorm',
    'NormGradient',
    'Expand',
    'ExpandGradient',
    'MaxPool',
    'MaxPoolGradient',
    'AveragePool',
    'AveragePoolGradient',
    'Add',
    'Rectify',
    'RectifyGradient',
    'BatchedProduct',
    'Gram',
    'GramGradient',
    'SquaredDifference',
    'SquaredDifferenceGradient',
    'AdamStep',
]
