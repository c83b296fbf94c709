"""Arrays of one length, element by element: kernels/cpu/elementwise.py on a GPU, four elements a thread at once."""

from .jit import aligned, fma, index, kernel, load4, rank, ranks, scalar, store4, typed
from .jit import sqrt as root


def from_one(f):
    """A function that does y[i] = f(x[i], *numbers)."""

    @kernel
    def loop(y, x, numbers):
        n, i, step = index(y.size), rank(), ranks()
        if aligned(y) and aligned(x):
            while i < n // index(4):
                a, b, c, d = load4(x, index(4) * i)
                store4(y, index(4) * i, f(a, *numbers), f(b, *numbers), f(c, *numbers), f(d, *numbers))
                i = index(i + step)
            i = index(n - n % index(4) + rank())
        while i < n:
            y[i] = f(x[i], *numbers)
            i = index(i + step)

    return loop


def from_two(f):
    """A function that does y[i] = f(a[i], b[i], *numbers)."""

    @kernel
    def loop(y, a, b, numbers):
        n, i, step = index(y.size), rank(), ranks()
        if aligned(y) and aligned(a) and aligned(b):
            while i < n // index(4):
                p, q, r, s = load4(a, index(4) * i)
                t, u, v, w = load4(b, index(4) * i)
                store4(
                    y, index(4) * i, f(p, t, *numbers), f(q, u, *numbers), f(r, v, *numbers), f(s, w, *numbers)
                )  # fmt: skip
                i = index(i + step)
            i = index(n - n % index(4) + rank())
        while i < n:
            y[i] = f(a[i], b[i], *numbers)
            i = index(i + step)

    return loop


def unary(name, f):
    """The kernel y[i] = f(x[i])."""
    each = from_one(f)

    def loop(y, x):
        each(y, x, ())

    loop.__name__ = loop.__qualname__ = name
    return kernel(loop)


def binary(name, f):
    """The kernel y[i] = f(a[i], b[i])."""
    each = from_two(f)

    def loop(y, a, b):
        each(y, a, b, ())

    loop.__name__ = loop.__qualname__ = name
    return kernel(loop)


@kernel
def cast(y, x):
    """y = x, both 1-D, of different types."""
    n, i, step = index(y.size), rank(), ranks()
    while i < n:
        y[i] = x[i]
        i = index(i + step)


@kernel
def fill(y, value):
    """y = value, 1-D."""
    n, i, step = index(y.size), rank(), ranks()
    if aligned(y):
        while i < n // index(4):
            store4(y, index(4) * i, value, value, value, value)
            i = index(i + step)
        i = index(n - n % index(4) + rank())
    while i < n:
        y[i] = value
        i = index(i + step)


copy = unary("copy", kernel(lambda x: x))
abs = unary("abs", kernel(lambda x: x if x > typed(0, x) else typed(0, x) - x))
sign = unary("sign", scalar.sign)
square = unary("square", scalar.square)
reciprocal = unary("reciprocal", scalar.reciprocal)
sqrt = unary("sqrt", kernel(lambda x: root(x)))
exp = unary("exp", scalar.exp)
log = unary("log", scalar.log)
tanh = unary("tanh", scalar.tanh)
sigmoid = unary("sigmoid", scalar.sigmoid)
relu = unary("relu", scalar.relu)

add = binary("add", kernel(lambda a, b: a + b))
sub = binary("sub", kernel(lambda a, b: a - b))
mul = binary("mul", kernel(lambda a, b: a * b))
div = binary("div", kernel(lambda a, b: a / b))
pow = binary("pow", scalar.pow)
maximum = binary("maximum", scalar.maximum)
minimum = binary("minimum", scalar.minimum)

# The output is of bool, or 0 and 1 of any type.
less = binary("less", kernel(lambda a, b: a < b))
less_equal = binary("less_equal", kernel(lambda a, b: a <= b))
equal = binary("equal", kernel(lambda a, b: a == b))
not_equal = binary("not_equal", kernel(lambda a, b: a != b))

# dx from (y, dy), y being the function's result.
tanh_grad = binary("tanh_grad", scalar.tanh_grad)
sigmoid_grad = binary("sigmoid_grad", scalar.sigmoid_grad)
relu_grad = binary("relu_grad", scalar.relu_grad)


@kernel
def where(y, mask, a, b):
    """a where the mask is not 0, else b."""
    n, i, step = index(y.size), rank(), ranks()
    if aligned(y) and aligned(mask) and aligned(a) and aligned(b):
        while i < n // index(4):
            j = index(4) * i
            (k, m, o, p), (q, r, s, t), (u, v, w, x) = load4(mask, j), load4(a, j), load4(b, j)
            store4(y, j, q if k else u, r if m else v, s if o else w, t if p else x)
            i = index(i + step)
        i = index(n - n % index(4) + rank())
    while i < n:
        y[i] = a[i] if mask[i] else b[i]
        i = index(i + step)


@kernel
def linear(x, scale, shift):
    return fma(scale, x, shift)


scaled = from_one(linear)


@kernel
def affine(y, x, scale, shift):
    """y = scale x + shift, rounded once."""
    scaled(y, x, (scale, shift))
