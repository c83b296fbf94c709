"""Small sets of data to try things on: made by a formula, or known from textbooks. Seeds give the same numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..op import DTypeError, ShapeError, expect
from ..ranges import check
from ..rng import Generator, as_generator

Pair = tuple[NDArray[Any], NDArray[Any]]


def load_iris() -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Fisher's irises: x (150, 4), sepal and petal lengths and widths in cm, float32, and the names of the species.

    Needs scikit-learn, which has the table: pip install numbaflux[examples]. Source: Fisher 1936.

    >>> x, species = load_iris()
    >>> x.shape, sorted(set(species.tolist()))
    ((150, 4), ['setosa', 'versicolor', 'virginica'])
    """
    table = _sklearn("load_iris").load_iris()
    return table.data.astype(np.float32), table.target_names[table.target]


def make_moons(n: int = 100, noise: float = 0.0, shuffle: bool = True, rng: Generator | int | None = None) -> Pair:
    """Two half circles, each around an end of the other: x (n, 2) float32, y (n,) 0 outside and 1 inside.

    noise: standard deviation of what is added to each coordinate; shuffle: in random order, else one after the other;
    one draw of rng. Needs scikit-learn, whose make_moons it is: pip install numbaflux[examples].

    >>> x, y = make_moons(50, noise=0.1, rng=0)
    >>> x.shape, np.bincount(y).tolist()
    ((50, 2), [25, 25])
    """
    check("make_moons.n", n)
    check("make_moons.noise", noise)
    seed = int(as_generator(rng, "make_moons").integers((), 0, 2**32))
    x, y = _sklearn("make_moons").make_moons(int(n), shuffle=shuffle, noise=float(noise) or None, random_state=seed)
    return x.astype(np.float32), y


def make_spiral(
    n: int = 97, a: float = 6.5, theta: float = 16.0, b: float = 104.0, noise: float = 0.1,
    rng: Generator | int | None = None,
) -> Pair:  # fmt: skip
    """Two spirals of n points each around 0, one the other turned by 180 degrees: x (2n, 2) float32, y (2n,) 1 and 0.

    Point i = 0..n-1 has the angle pi i / theta and the radius a (1 - i / b); noise: standard deviation of what is added
    to each coordinate; one draw of rng.

    >>> x, y = make_spiral(3, noise=0)
    >>> x[0].tolist(), x[3].tolist(), y.tolist()
    ([0.0, 6.5], [0.0, -6.5], [1, 1, 1, 0, 0, 0])
    """
    check("make_spiral.n", n)
    for name, number in (("a", a), ("theta", theta), ("b", b), ("noise", noise)):
        check(f"make_spiral.{name}", number)
    i = np.arange(int(n))
    angle, radius = math.pi * i / float(theta), float(a) * (1 - i / float(b))
    arm = np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1)
    # 0 - arm, for which 0 stays 0
    return _noisy("make_spiral", np.concatenate([arm, 0 - arm]), noise, rng), np.repeat([1, 0], int(n))


def make_poly(coef: ArrayLike, x: ArrayLike, noise: float = 0.1, rng: Generator | int | None = None) -> Pair:
    """(x, y), both (n,) float32: the polynomial of coef at x, with noise.

    coef: the highest power's first, the constant last; noise: standard deviation of what is added to each y; one draw
    of rng. Raises ShapeError, DTypeError unless both are lists of real numbers.

    >>> x, y = make_poly([1, 0, 2], [0, 1, 3], noise=0)
    >>> y.tolist()
    [2.0, 3.0, 11.0]
    """
    check("make_poly.noise", noise)
    arrays = []
    for name, values in (("coef", coef), ("x", x)):
        array = np.asarray(values)
        expect(array.dtype.kind in "fiu", "make_poly", name, "real numbers", str(array.dtype), error=DTypeError)
        expect(array.ndim == 1, "make_poly", name, "of one axis", f"shape {array.shape}", error=ShapeError)
        arrays.append(array.astype(np.float64))
    return arrays[1].astype(np.float32), _noisy("make_poly", np.polyval(*arrays), noise, rng)


def make_sin(
    n: int = 50, start: float = 0.0, stop: float = 2 * math.pi, noise: float = 0.3, rng: Generator | int | None = None
) -> Pair:
    """(x, y), both (n,) float32: n places from start to stop at equal distances, and their sines with noise.

    noise: standard deviation of what is added to each y; one draw of rng.

    >>> x, y = make_sin(5, noise=0)
    >>> np.abs(y).round(3).tolist()
    [0.0, 1.0, 0.0, 1.0, 0.0]
    """
    check("make_sin.n", n)
    for name, number in (("start", start), ("stop", stop), ("noise", noise)):
        check(f"make_sin.{name}", number)
    x = np.linspace(float(start), float(stop), n)
    return x.astype(np.float32), _noisy("make_sin", np.sin(x), noise, rng)


def _noisy(where: str, x: NDArray[Any], noise: float, rng: Any) -> NDArray[np.float32]:
    return (x + float(noise) * as_generator(rng, where).normal(x.shape, dtype=np.float64)).astype(np.float32)


def _sklearn(where: str) -> Any:
    try:
        from sklearn import datasets
    except ImportError:
        cure = "pip install numbaflux[examples]"
        raise ImportError(f"{where}: scikit-learn must be installed, got none; {cure}") from None
    return datasets
