"""The cache made warm: all that operations and rules use, each once."""

import numpy as np
import pytest

import numbaflux as nf
from numbaflux import native as native_module
from numbaflux import warm
from numbaflux.native import Native
from numbaflux.objects import Store


def test_entries_have_the_names_of_the_cache():
    found = warm.entries()
    assert 100 < len(found) <= 250, "each takes time and disk at every site"
    for name, (module, function, signature) in found.items():
        assert name.startswith(f"{module.rpartition('.')[2]}.{function}-")
        assert signature and all(isinstance(code, str) for code in signature)
    assert {"run", "region"} <= {function for _, function, _ in found.values()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", warm.OPTIMISERS, ids=str)
def test_entries_hold_what_training_needs(rule, dtype):
    found = warm.entries()
    model = nf.Chain(nf.Dense(3, 5, nf.tanh), nf.Dense(5, 4))
    model = nf.f64(model) if dtype == np.float64 else model
    step = nf.compile(lambda m, x, y: nf.losses.logitcrossentropy(m(x), y), model, nf.setup(rule, model))
    step(np.ones((300, 3), dtype), np.zeros(300, np.int64))
    plan = next(iter(step.programs.values())).plan
    needed = {native_module.named(e.kernel, e.signature)[0] for e in plan.entries}
    assert len(needed) > 8 and needed <= found.keys()


def test_warm_compiles_what_is_missing_and_nothing_twice(tmp_path, monkeypatch):
    tmp_path.chmod(0o700)
    one = Native(Store(tmp_path, []))
    built = []

    def build_all(wanted, jobs):
        built.extend(wanted)
        return [(name, b"code") for name in wanted]

    monkeypatch.setattr(native_module, "build_all", build_all)
    monkeypatch.setattr(warm, "native", lambda: one)
    names = sorted(warm.entries())
    for name in names[: len(names) // 2]:
        one.store.write(name, {name: b"code"})
    found = list(warm.warm())
    assert sorted(name for name, _ in found) == sorted(built) == names[len(names) // 2 :]
    seconds = [s for _, s in found]
    assert seconds == sorted(seconds) and seconds[0] >= 0
    assert list(warm.warm()) == []
    torn = tmp_path / (names[0] + ".nfo")
    torn.write_bytes(torn.read_bytes()[:-1])
    assert [name for name, _ in warm.warm()] == names[:1]
