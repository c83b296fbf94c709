"""Augmentation against what each image may become, image by image; shapes, seeds, inputs left alone, every message."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux.data.augment import Compose, Cutout, Jitter, MixUp, Noise, RandomCrop, RandomFlip, RandomRotate90
from numbaflux.op import DTypeError, Error, ShapeError

N = 400
X = nf.Generator(0).uniform((N, 6, 6, 3), 1, 2)
WIDE = X[:, :4]
CHANGES = [
    RandomFlip(), RandomFlip(vertical=True), RandomCrop(2), RandomRotate90(), Cutout(3), Noise(0.2), Jitter(),
    Compose(RandomFlip(), RandomCrop(1)),
]  # fmt: skip


def ways(change, images, seed=1):
    """For each image the number of the way it went, of those that `change` lists."""
    got = []
    for before, after in zip(images, change["f"](images, rng=seed), strict=True):
        same = [k for k, way in enumerate(change["ways"](before)) if np.array_equal(way, after)]
        assert len(same) == 1
        got.append(same[0])
    return np.bincount(got, minlength=len(change["ways"](images[0])))


def shifted(image, down, right):
    out = np.zeros_like(image)
    h, w, _ = image.shape
    for i in range(h):
        for j in range(w):
            if 0 <= i + down < h and 0 <= j + right < w:
                out[i, j] = image[i + down, j + right]
    return out


def cut(image, row, column, size):
    out = image.copy()
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            if row - size // 2 <= i < row - size // 2 + size and column - size // 2 <= j < column - size // 2 + size:
                out[i, j] = 0
    return out


EQUALLY = {
    "flip": {"f": RandomFlip(), "ways": lambda a: [a, a[:, ::-1]]},
    "flip upside down": {"f": RandomFlip(vertical=True), "ways": lambda a: [a, a[::-1]]},
    "crop": {"f": RandomCrop(1), "ways": lambda a: [shifted(a, i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]},
    "rotate": {"f": RandomRotate90(), "ways": lambda a: [np.rot90(a, k) for k in range(4)]},
    "cutout": {"f": Cutout(2), "ways": lambda a: [cut(a, i, j, 2) for i in range(6) for j in range(6)]},
    "cutout of odd size": {"f": Cutout(3), "ways": lambda a: [cut(a, i, j, 3) for i in range(6) for j in range(6)]},
}


@pytest.mark.parametrize("name", EQUALLY)
def test_each_image_goes_one_of_the_ways_equally_likely(name):
    counts = ways(EQUALLY[name], X)
    mean = N / len(counts)
    assert np.abs(counts - mean).max() < 5 * np.sqrt(mean)


def test_images_that_are_not_square():
    for f, listed in (
        (RandomFlip(), EQUALLY["flip"]["ways"]),
        (RandomCrop(1), EQUALLY["crop"]["ways"]),
        (Cutout(3), lambda a: [cut(a, i, j, 3) for i in range(4) for j in range(6)]),
    ):
        assert (ways({"f": f, "ways": listed}, WIDE) > 0).all()


def test_probability():
    assert np.array_equal(RandomFlip(0.0)(X), X) and np.array_equal(RandomFlip(1.0)(X), X[:, :, ::-1])
    changed = (RandomFlip(0.25)(X, rng=3) != X).any(axis=(1, 2, 3)).sum()
    assert abs(changed - N / 4) < 5 * np.sqrt(N * 0.25 * 0.75)


def test_a_crop_moves_by_no_more_than_its_pad():
    moved = RandomCrop(2)(np.ones((N, 6, 6, 1)), rng=0)
    kept = moved.sum(axis=(1, 2, 3))
    assert kept.min() == 16 and kept.max() == 36


def test_noise():
    for dtype in (np.float32, np.float64):
        added = Noise(0.5)(X.astype(dtype), rng=0) - X
        assert added.dtype == dtype and abs(added.std() - 0.5) < 0.02 and abs(added.mean()) < 0.02
        flat = added.reshape(N, -1)
        assert np.abs(np.corrcoef(flat[:, :2].T)[0, 1]) < 0.2


def test_jitter_scales_distances_from_the_mean_and_moves_it():
    x = X.astype(np.float64)
    mean, after = x.mean(axis=(1, 2, 3)), Jitter(0.3, 0.5)(x, rng=2)
    moved = after.mean(axis=(1, 2, 3)) - mean
    scale = after.std(axis=(1, 2, 3)) / x.std(axis=(1, 2, 3))
    centred = (x - mean[:, None, None, None]) * scale[:, None, None, None]
    np.testing.assert_allclose(after, centred + (mean + moved)[:, None, None, None], rtol=1e-12)
    for numbers, width in ((moved, 0.3), (scale - 1, 0.5)):
        assert (
            np.abs(numbers).max() <= width and np.abs(numbers).max() > 0.9 * width and abs(numbers.mean()) < 0.1 * width
        )
    assert abs(np.corrcoef(moved, scale)[0, 1]) < 0.2


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_mixup_mixes_images_and_labels_alike(alpha):
    labels = nf.OneHot(np.arange(8) % 4, 4)
    shares = []
    for seed in range(60):
        x, y, note = MixUp(alpha)(X[:8].astype(np.float64), labels, "note", rng=seed)
        order = nf.Generator(seed).permutation(8)
        moved = order != np.arange(8)
        share = (x - X[order])[moved] / (X[:8].astype(np.float64) - X[order])[moved]
        np.testing.assert_allclose(share, share.flat[0], rtol=1e-6, atol=1e-10)
        share = float(share.flat[0])
        dense = np.asarray(labels, np.float64)
        np.testing.assert_allclose(y, share * dense + (1 - share) * dense[order], atol=1e-9)
        assert note == "note" and y.dtype == np.float64
        shares.append(share)
    assert abs(np.mean(shares) - 0.5) < 0.15
    assert abs(np.var(shares) - 1 / (4 * (2 * alpha + 1))) < 0.05  # of Beta(alpha, alpha)


def test_labels_mixed_are_those_of_the_given_floats():
    y = nf.Generator(3).uniform((4, 2))
    mixed = MixUp()(X[:4], y, rng=1)[1]
    assert mixed.dtype == np.float32 and mixed.shape == (4, 2) and y.min() <= mixed.min() <= mixed.max() <= y.max()


@pytest.mark.parametrize("change", CHANGES, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_seed_the_same_bits_and_inputs_left_alone(change, dtype):
    x, y = X[:9].astype(dtype), np.arange(9)
    kept, g = x.copy(), nf.Generator(7)
    first, labels = change(x, y, rng=g)
    assert first.shape == x.shape and first.dtype == dtype and labels is y and np.array_equal(x, kept)
    assert g.state[1] == (2 if isinstance(change, Compose) else 1)
    assert np.array_equal(change(x, rng=7), first) and not np.array_equal(change(x, rng=8), first)
    assert not np.shares_memory(first, x)
    nf.seed(7)
    assert np.array_equal(change(x), first)


@pytest.mark.parametrize("change", [c for c in CHANGES if not getattr(c, "floats", False)], ids=repr)
def test_bytes_stay_bytes(change):
    x = nf.Generator(1).integers((5, 6, 6, 1), 0, 256).astype(np.uint8)
    assert change(x, rng=0).dtype == np.uint8


def test_compose_is_one_after_another():
    g = nf.Generator(4)
    both = Compose(RandomFlip(), MixUp())(X[:6], nf.OneHot([0, 1] * 3, 2), rng=4)
    apart = MixUp()(*RandomFlip()(X[:6], nf.OneHot([0, 1] * 3, 2), rng=g), rng=g)
    assert all(np.array_equal(a, b) for a, b in zip(both, apart, strict=True))
    assert np.array_equal(Compose()(X), X)


def test_in_a_loader():
    y = nf.onehotbatch(np.arange(N) % 3, range(3))
    loader = nf.DataLoader((X, y), 100, shuffle=True, rng=2, transform=Compose(RandomFlip(), nf.augment.MixUp()))
    epochs = [list(loader) for _ in range(2)]
    assert [b[0].shape for b in epochs[0]] == [(100, 6, 6, 3)] * 4 and epochs[0][0][1].shape == (100, 3)
    again = nf.DataLoader((X, y), 100, True, rng=2, prefetch=0, transform=Compose(RandomFlip(), MixUp()))
    for one, other in zip(epochs[0], again, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert not np.array_equal(epochs[0][0][0], epochs[1][0][0])


LABELS = np.arange(4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: RandomFlip()(X[0]), ShapeError,
         "RandomFlip: x must be images of shape (n, h, w, c), got shape (6, 6, 3)"),
        (lambda: Cutout()([1]), ShapeError, "Cutout: x must be images of shape (n, h, w, c), got list"),
        (lambda: Noise()(X.astype(int)), DTypeError,
         "Noise: x must be of floating numbers, got int64; x.astype(np.float32)"),
        (lambda: RandomRotate90()(WIDE), ShapeError,
         "RandomRotate90: x must be images as high as wide, got shape (400, 4, 6, 3)"),
        (lambda: MixUp()(X[:4], LABELS), ShapeError,
         "MixUp: y must be one-hot or probabilities of shape (4, c), got int64 of shape (4,); "
         "nf.onehotbatch(y, labels)"),
        (lambda: MixUp()(X[:4], np.ones((3, 2))), ShapeError,
         "MixUp: y must be one-hot or probabilities of shape (4, c), got float64 of shape (3, 2); "
         "nf.onehotbatch(y, labels)"),
        (lambda: MixUp()(X[:4].astype(int), LABELS), DTypeError,
         "MixUp: x must be of floating numbers, got int64; x.astype(np.float32)"),
        (lambda: Compose(3), DTypeError, "Compose: changes must be functions, got 3"),
        (lambda: RandomFlip()(X, rng="a"), DTypeError,
         "RandomFlip: rng must be None, a seed or a numbaflux Generator, got builtins.str; pass a seed: rng=0"),
    ],
)  # fmt: skip
def test_messages(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
    assert isinstance(caught.value, Error)
