"""Oracles of the operations on elements: the formula, in the precision of the arguments."""

import numpy as np


def neg(x):
    return -x


def add(a, b):
    return a + b


def sub(a, b):
    return a - b


def mul(a, b):
    return a * b


def div(a, b):
    return a / b


def affine(x, scale, shift):
    return x * scale + shift


def fill(x, value):
    return np.full_like(x, value)


def exp(x):
    return np.exp(x)


def log(x):
    return np.log(x)


def sqrt(x):
    return np.sqrt(x)


def square(x):
    return x * x


def abs(x):
    return np.fabs(x)


def sign(x):
    return np.where(x > 0, 1, np.where(x < 0, -1, x))


def pow(a, b):
    return np.power(a, b)


def tanh(x):
    return np.tanh(x)


def tanh_grad(y, dy):
    return (1 - y) * (1 + y) * dy


def sigmoid(x):
    """The form of each side of 0 that neither overflows nor cancels."""
    return np.where(x >= 0, 1 / (1 + np.exp(-x)), np.exp(x) / (1 + np.exp(x)))


def sigmoid_grad(y, dy):
    return y * (1 - y) * dy


def relu(x):
    return np.where(x <= 0, 0, x)


def relu_grad(y, dy):
    return np.where(y <= 0, 0, dy)


def less(a, b):
    return a < b


def less_equal(a, b):
    return a <= b


def equal(a, b):
    return a == b


def not_equal(a, b):
    return a != b


def greater(a, b):
    return a > b


def greater_equal(a, b):
    return a >= b


def maximum(a, b):
    return np.maximum(a, b)


def minimum(a, b):
    return np.minimum(a, b)


def where(mask, a, b):
    return np.where(mask, a, b)
