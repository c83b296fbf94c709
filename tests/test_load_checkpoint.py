"""Checkpoints in files: what is in them comes back; no file makes load_checkpoint do anything but that, or raise."""

import json
import math
import re
import stat
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import numbaflux as nf
from numbaflux import hdf5
from numbaflux.optim import RULES, TRANSFORMS
from numbaflux.optim.rules import START
from numbaflux.resume import KEYS
from tests.toys import Block, twice

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
ROWS = [{"epoch": 1, "loss": 0.1, "score": math.nan}, {"epoch": 2, "loss": 1e-300, "score": math.inf, "late": 3.0}]


def mlp():
    return nf.Chain(nf.Dense(3, 4, nf.tanh, rng=0), nf.Dense(4, 2, rng=1))


def stepped(rule=None, model=None, steps=3):
    """A model that was trained a little, and its optimiser state."""
    model = model or mlp()
    state = nf.setup(rule or nf.Adam(), model)
    step = nf.compile(lambda m, x: (m(x) ** 2).mean(), model, state)
    for _ in range(steps):
        step(X)
    return model, state


def bits(model, state):
    vectors = {
        (name, s.path): s.of(a).tobytes()
        for v in state.vectors.values() for name, a in v.states.items() for s in v.segments
    }  # fmt: skip
    return {n: a.tobytes() for n, a in nf.state(model).items()}, vectors, state.hyper.tobytes()


# -------------------------------------------------------------------------------------------------------- round trip


MEMBERS = [rule() for rule in RULES]
CHAINS = [nf.OptimiserChain(t(2) if t.__name__ == "AccumGrad" else t(), nf.Adam()) for t in TRANSFORMS]
CHAINS += [nf.OptimiserChain(*(t(3) if t.__name__ == "AccumGrad" else t() for t in TRANSFORMS), nf.Momentum()),
           nf.OptimiserChain(nf.Descent())]  # fmt: skip
S = nf.schedules
AROUND = [
    nf.EMA(nf.Adam(), 0.5), nf.EMA(nf.MixedPrecision(CHAINS[-2], "bfloat16")), nf.MixedPrecision(nf.Muon()),
    nf.Scheduler(nf.Adam(), eta=0.5), nf.Scheduler(nf.EMA(CHAINS[-2]), eta=S.OneCycle(9, 0.1), rho=S.Constant(0.5)),
    *(nf.Scheduler(nf.Descent(), eta=schedule) for schedule in [
        S.Step(0.1, 0.5, (2, 3)), S.CosAnneal(0.1, 0.0, 5, restart=False), S.TriangleExp(0.1, 0.2, 4, 0.5),
        S.Sequence((0.1, 2), (S.Exp(1.0, 0.5), 3)), S.Warmup(S.Poly(0.1, 2.0, 9), 2),
        S.symmetric(S.Sin(0.1, 1.0, 3), 9), S.Interpolator(S.Exp(1.0, 0.5), 3), S.Shortened(0.1, 2),
        S.Interpolator(S.Exp(1.0, 0.5), 0.5, math.floor),
        S.ComposedSchedule(S.Triangle(0.0, 1.0, 4), l1=S.Exp(1.0, 0.9)),
    ]),
]  # fmt: skip


@pytest.mark.parametrize("rule", [*MEMBERS, *CHAINS, *AROUND], ids=repr)
def test_every_rule_comes_back(tmp_path, rule):
    model, state = stepped(rule)
    nf.save_checkpoint(tmp_path / "run.h5", model, state)
    run = nf.load_checkpoint(tmp_path / "run.h5")
    assert run.opt_state.rule == state.rule and type(state.rule) is type(rule) and repr(run.opt_state) == repr(state)
    assert bits(run.model, run.opt_state) == bits(model, state) and run.step == state.step == run.opt_state.step


@pytest.mark.parametrize("schedule", [lambda t: 0.1, S.Interpolator(0.1, 2, lambda t: 1)])
def test_a_function_of_ones_own_cannot_be_saved(tmp_path, schedule):
    model, state = stepped(nf.Scheduler(nf.Descent(), eta=schedule))
    expected = "^save: the rule must be made of rules, numbers and schedules, got <.*>; use one of nf.schedules, or "
    with pytest.raises(nf.DTypeError, match=expected):
        nf.save_checkpoint(tmp_path / "run.h5", model, state)
    assert not list(tmp_path.iterdir())


def test_numbers_of_rules_come_back_as_numbers(tmp_path):
    model, state = stepped(nf.Adam(np.float64(0.1), beta=[0, 0.9]))
    nf.save_checkpoint(tmp_path / "run.h5", model, state)
    rule = nf.load_checkpoint(tmp_path / "run.h5").opt_state.rule
    assert rule == nf.Adam(0.1, (0, 0.9)) and type(rule.eta) is float and type(rule.beta) is tuple


def test_all_the_rest_comes_back(tmp_path):
    model, state = stepped()
    nf.freeze(state, "1.bias")
    nf.seed(2**64 - 1)
    data = nf.DataLoader(X, shuffle=True, rng=nf.Generator(5, 9))
    nf.save_checkpoint(tmp_path / "run.h5", model, state, 2, ROWS, data, metadata={"note": [1, None, "é"]})
    run = nf.load_checkpoint(tmp_path / "run.h5")
    assert (run.epoch, run.sample, run.step) == (2, 0, 3)
    assert run.rng == {"default": (2**64 - 1, 0), "data": (5, 9)} and run.metadata == {"note": [1, None, "é"]}
    assert [s.path for s in run.opt_state.segments if s.frozen] == ["1.bias"]
    assert repr(run.history) == repr(nf.History([ROWS[0] | {"late": math.nan}, ROWS[1]]))
    assert isinstance(run.history, nf.History) and [type(row["epoch"]) for row in run.history] == [int, int]
    assert repr(run) == "Run(epoch 2, step 3, Chain of 26 parameters, Adam(eta=0.001, beta=(0.9, 0.999), eps=1e-08))"


def test_ties_and_users_layers_come_back(tmp_path):
    model = {"a": Block(), "b": [nf.Dense(3, 2, twice, rng=3)]}
    model["b"][0].weight = model["a"].parts[0].weight
    state = nf.setup(nf.Momentum(), model)
    nf.save_checkpoint(tmp_path / "run.h5", model, state)
    run = nf.load_checkpoint(tmp_path / "run.h5", layers=[Block], functions=[twice])
    assert run.model["b"][0].weight is run.model["a"].parts[0].weight
    assert bits(run.model, run.opt_state) == bits(model, state)
    assert [s.ties for s in run.opt_state.segments] == [s.ties for s in state.segments]
    with pytest.raises(nf.FileFormatError, match="^run.h5: the layer a must be numbaflux's own or one of layers="):
        nf.load_checkpoint(tmp_path / "run.h5", functions=[twice])


def test_the_model_of_a_checkpoint_loads_alone(tmp_path):
    model, state = stepped()
    nf.save_checkpoint(tmp_path / "run.h5", model, state, metadata={"a": 1})
    again, other = nf.load(tmp_path / "run.h5"), mlp()
    nf.load_into(other, tmp_path / "run.h5")
    for one in (again, other):
        np.testing.assert_array_equal(one(X), model(X))
    found = nf.inspect(tmp_path / "run.h5")
    assert found.training["optimiser"]["rule"]["rule"] == "Adam" and found.metadata == {"a": 1}
    assert {"model.0.weight", "optimiser.m.0.weight", "optimiser.v.1.bias"} <= set(found.tensors)
    assert "Dense(3, 4, tanh)" in repr(found) and '"epoch": 0' in repr(found)
    nf.save(tmp_path / "model.h5", model)
    assert nf.inspect(tmp_path / "model.h5").training == {}


def test_the_user_alone_may_read_it(tmp_path):
    model, state = stepped()
    nf.save_checkpoint(tmp_path / "run.h5", model, state)
    assert stat.S_IMODE((tmp_path / "run.h5").stat().st_mode) == 0o600


def test_the_same_training_gives_the_same_bytes(tmp_path):
    nf.seed(0)
    for name in ("a.h5", "b.h5"):
        model, state = stepped()
        nf.save_checkpoint(tmp_path / name, model, state, 2, ROWS)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_loading_imports_no_h5py_and_no_numba(tmp_path):
    model, state = stepped()
    nf.save_checkpoint(tmp_path / "run.h5", model, state)
    code = (
        f"import sys, numbaflux as nf; nf.load_checkpoint({str(tmp_path / 'run.h5')!r});"
        "print([m for m in ('h5py', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# -------------------------------------------------------------------------------------------------- what is not saved


Descent = type("Descent", (nf.Descent,), {})


def deep():
    model = nf.Dense(1, 1)
    for _ in range(14):
        model = nf.Chain(model)
    return model


REFUSED = [
    ({"model": lambda: nf.Chain(nf.Dense(2, 2), lambda x: x)}, nf.DTypeError, "save: 1 must be a function that its "),
    ({"rule": Descent()}, nf.DTypeError, "save: the rule must be one of Descent, "),
    ({"opt_state": nf.Adam()}, nf.DTypeError,
     "save: opt_state must be what nf.setup returned for the model, got Adam"),
    ({"opt_state": stepped()[1]}, nf.PlanError,
     "save: opt_state must be what nf.setup returned for the model, got that of another"),
    ({"metadata": {"a": math.nan}}, nf.DTypeError, "save: metadata.a must be plain JSON"),
    ({"history": [{"epoch": 1, "loss": "low"}]}, nf.DTypeError, "save: history: loss must be a number, got str"),
    ({"epoch": -1}, nf.RangeError, "save_checkpoint: epoch must be an integer in [0, 2**63), got -1"),
    ({"model": deep, "rule": nf.Adam()}, nf.RangeError,
     f"save: optimiser.m.{'0.' * 14}weight must be a name of up to 16 parts, got 17; nest layers less deep"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "error", "text"), REFUSED, ids=[text[:40] for _, _, text in REFUSED])
def test_what_cannot_be_saved_is_refused_before_the_file_is_touched(tmp_path, changes, error, text):
    (tmp_path / "run.h5").write_text("old")
    model = changes.get("model", mlp)()
    arguments = {"opt_state": nf.setup(changes.get("rule", nf.Descent()), model), "model": model}
    arguments |= {k: v for k, v in changes.items() if k not in ("model", "rule")}
    with pytest.raises(error, match="^" + re.escape(text)):
        nf.save_checkpoint(tmp_path / "run.h5", **arguments)
    assert (tmp_path / "run.h5").read_text() == "old"


def test_a_state_that_was_replaced_is_refused(tmp_path):
    model, state = stepped()
    nf.setup(nf.Adam(), model)
    with pytest.raises(
        nf.PlanError, match="^save: opt_state must be what nf.setup returned for the model, got that of"
    ):
        nf.save_checkpoint(tmp_path / "run.h5", model, state)


# ------------------------------------------------------------------------------------------------------ hostile files


def parts():
    """Tensors and documents of a small checkpoint, to be changed."""
    vectors = {f"optimiser.{n}.w": np.zeros(3, np.float32) for n in ("m", "v")}
    training = {
        "epoch": 1, "batches": 4, "batch": 1, "sample": 8, "total": 0.5, "seconds": 0.25, "begun": {"default": [0, 0]},
        "rng": {"default": [0, 0]}, "columns": ["epoch", "loss"],
        "optimiser": {
            "rule": {"rule": "Adam", "fields": {"eta": 0.1, "beta": {"tuple": [0.9, 0.999]}, "eps": 1e-8}},
            "counters": [dict.fromkeys(START, 0.0)], "frozen": ["w"],
        },
    }  # fmt: skip
    tensors = {"model.w": np.ones(3, np.float32), **vectors, "history": np.array([[1, 0.5]])}
    return tensors, {"dict": {"w": {"array": "w", "dtype": "float32", "shape": [3]}}}, training


def forged(path, change=lambda tensors, training: None, drop=()):
    tensors, tree, training = parts()
    change(tensors, training)
    documents = {"architecture": json.dumps(tree), "training": json.dumps(training)}
    hdf5.write(path, tensors, {k: v for k, v in documents.items() if k not in drop})
    return path


def put(value, *keys):
    """A change of the training document."""

    def change(tensors, training):
        node = training
        for key in keys[:-1]:
            node = node[key]
        if value is DEL:
            del node[keys[-1]]
        else:
            node[keys[-1]] = value

    return change


def tensor(name, value):
    def change(tensors, training):
        if value is DEL:
            del tensors[name]
        else:
            tensors[name] = value

    return change


DEL = object()
RULE = ("optimiser", "rule")
FIELDS = (*RULE, "fields")
COUNTERS = ("optimiser", "counters")
ALL = ", ".join(sorted(KEYS))
ADAM = {"rule": "Adam", "fields": {"eta": 0.1, "beta": {"tuple": [0.9, 0.999]}, "eps": 1e-8}}
HOSTILE = [
    (put(DEL, "rng"), f"training must be {ALL}, got {{"),
    (put(1, "more"), f"training must be {ALL}, got {{"),
    (put(-1, "epoch"), "training: epoch must be an integer in [0, 2**63), got -1"),
    (put(True, "batches"), "training: batches must be an integer in [0, 2**63), got True"),
    (put(1.5, "batch"), "training: batch must be an integer in [0, 2**63), got 1.5"),
    (put(2**63, "sample"), "training: sample must be an integer in [0, 2**63), got 9223372036854775808"),
    (put(1, "total"), "training: total must be a number, got 1"),
    (put(None, "seconds"), "training: seconds must be a number, got None"),
    (put([], "begun"), "training: begun must be (seed, counter) by name, got []"),
    (put([1], "rng", "default"), "training: rng: default must be two integers in [0, 2**64), got [1]"),
    (put([0, 2**64], "rng", "default"), "training: rng: default must be two integers in [0, 2**64), got [0, "),
    (put([0.0, 1], "rng", "default"), "training: rng: default must be two integers in [0, 2**64), got [0.0, 1]"),
    (put("epoch", "columns"), "training: columns must be different names, got 'epoch'"),
    (put(["a", "a"], "columns"), "training: columns must be different names, got ['a', 'a']"),
    (put(["epoch", 1], "columns"), "training: columns must be different names, got ['epoch', 1]"),
    (put(["epoch"], "columns"), "tensor history must be float64 [epochs, 1], got 'float64 [1, 2]'"),
    (tensor("history", np.ones((1, 2), np.float32)),
     "tensor history must be float64 [epochs, 2], got 'float32 [1, 2]'"),
    (tensor("history", np.array([[1.5, 0]])), "tensor history: epoch must be whole numbers, got 1.5"),
    (tensor("history", np.array([[np.inf, 0]])), "tensor history: epoch must be whole numbers, got inf"),
    (tensor("other", np.ones(1)), "the tensors must be of the model, the optimiser, and the history, got ['other']"),
    (tensor("model.x", np.ones(1)), "the tensors must be those of the architecture, got \"also ['x']\""),
    (tensor("model.w", DEL), "the tensor of w must be in the file, got 'w'"),
    (tensor("optimiser.m.w", DEL), "tensor optimiser.m.w must be in the file, got 'nothing'"),
    (tensor("optimiser.u.w", np.ones(1)), "the tensors of the optimiser must be those of Adam, got \"also ['u.w']\""),
    (tensor("optimiser.m.w", np.ones(3)), "tensor optimiser.m.w must be float32 [3], got 'float64 [3]'"),
    (tensor("optimiser.m.w", np.ones(2, np.float32)), "tensor optimiser.m.w must be float32 [3], got 'float32 [2]'"),
    (put(7, "optimiser"), "training: optimiser must be counters, frozen, rule, got 7"),
    (put(DEL, "optimiser", "frozen"), "training: optimiser must be counters, frozen, rule, got {"),
    (put(["x"], "optimiser", "frozen"), "training: frozen must be paths of parameters, got ['x']"),
    (put([["w"]], "optimiser", "frozen"), "training: frozen must be paths of parameters, got [['w']]"),
    (put([], *COUNTERS), "training: counters must be step, "),
    (put([{}], *COUNTERS), "training: counters must be step, "),
    (put(-1.0, *COUNTERS, 0, "step"), "training: step must be a number in [0, 9007199254740992], got -1.0"),
    (put(0.5, *COUNTERS, 0, "step"), "training: step must be a number in [0, 9007199254740992], got 0.5"),
    (put(3, *COUNTERS, 0, "step"), "training: step must be a number in [0, 9007199254740992], got 3"),
    (put(1.5, *COUNTERS, 0, "power1"), "training: power1 must be a number in [0, 1], got 1.5"),
    (put("os.system", *RULE, "rule"), "the rule must be one of Descent, "),
    (put(["Adam"], *RULE, "rule"), "the rule must be one of Descent, "),
    (put("AdaNothing", *RULE, "rule"), "the rule must be one of Descent, "),
    (put(3, *RULE), "the rule must be one by name, or a list of them, got 3"),
    (put([], *RULE), "OptimiserChain: rules must be "),
    (put([[ADAM]], *RULE), "OptimiserChain: rules must be "),
    (put([ADAM, ADAM], *RULE), "OptimiserChain: rules must be "),
    (put({"layer": "Dense", "fields": {}}, *RULE), "rule must be an array, layer, function, tuple, dict or number, "),
    (put({"ceiling": "round"}, *RULE), "the rule: ceil_fn must be one of ceil, floor, got 'round'"),
    (put({"ceiling": []}, *RULE), "the rule: ceil_fn must be one of ceil, floor, got []"),
    (put({"rule": "EMA", "fields": {"rule": {"tuple": []}, "decay": 0.5}}, *RULE), "EMA: rule must be a rule such as"),
    (put({"rule": "EMA", "fields": {"rule": [], "decay": 0.5}}, *RULE), "OptimiserChain: rules must be what changes"),
    (put({"rule": "Exp", "fields": {"start": 1.0, "decay": 0.5}}, *RULE), "the rule must be one by name, or a list of"),
    (put({"rule": "Scheduler", "fields": {"rule": {"rule": "Descent", "fields": {"eta": 0.1}}, "schedules": 3}}, *RULE),
     "the schedules of Scheduler must be pairs, got 3"),
    (put({"rule": "Scheduler", "fields": {"rule": {"rule": "Descent", "fields": {"eta": 0.1}}, "schedules":
         {"tuple": [{"tuple": ["rule", 1.0]}]}}}, *RULE), "the schedules of Scheduler must be pairs, got"),
    (put({"rule": "Sequence", "fields": {"parts": 3}}, *RULE), "the parts of Sequence must be pairs, got 3"),
    (put({"rule": "MixedPrecision", "fields": {"rule": {"rule": "Descent", "fields": {"eta": 0.1}}, "dtype": "float8"}},
         *RULE), "MixedPrecision: dtype must be 'float16' or 'bfloat16', got 'float8'"),
    (put({"function": "relu"}, *RULE), "rule must be an array, layer, function, tuple, dict or number, got"),
    (put(DEL, *FIELDS, "eta"), "the numbers of Adam must be beta, eps, eta, got {"),
    (put(1, *FIELDS, "__class__"), "the numbers of Adam must be beta, eps, eta, got {"),
    (put(-0.1, *FIELDS, "eta"), "Adam: eta must be a number in [0, inf), got -0.1"),
    (put({"float": "nan"}, *FIELDS, "eta"), "Adam: eta must be a number in [0, inf), got nan"),
    (put("0.1", *FIELDS, "eta"), "Adam: eta must be a number in [0, inf), got '0.1'"),
    (put({"tuple": [0.9]}, *FIELDS, "beta"), "Adam: beta must be a pair of numbers, got (0.9,)"),
    (put(ADAM, *FIELDS, "eta"), "Adam: eta must be a number in [0, inf), got Adam(eta=0.1, "),
]  # fmt: skip


def test_the_forged_checkpoint_is_valid(tmp_path):
    run = nf.load_checkpoint(forged(tmp_path / "run.h5"))
    assert (run.epoch, run.sample, run.history) == (1, 8, [{"epoch": 1, "loss": 0.5}])
    assert repr(run).startswith("Run(epoch 1, 8 samples, step 0, dict of 3 parameters, Adam(eta=0.1")


@pytest.mark.parametrize(("change", "text"), HOSTILE, ids=[text[:60] for _, text in HOSTILE])
def test_hostile_checkpoints(tmp_path, change, text):
    default = nf.rng.default().state
    path = forged(tmp_path / "run.h5", change)
    with pytest.raises(nf.FileFormatError) as caught:
        nf.load_checkpoint(path)
    said = str(caught.value)
    assert said.startswith("run.h5: " + text) and len(said) <= 300 and said.isprintable()
    assert nf.rng.default().state == default


def test_files_that_are_no_checkpoints(tmp_path):
    nf.save(tmp_path / "model.h5", mlp())
    with pytest.raises(
        nf.FileFormatError, match="^model.h5: the file must be a checkpoint, got 'a model alone, for nf."
    ):
        nf.load_checkpoint(tmp_path / "model.h5")
    with pytest.raises(nf.FileFormatError, match="^run.h5: the documents must be architecture, perhaps metadata and"):
        nf.load_checkpoint(forged(tmp_path / "run.h5", drop=["architecture"]))
    (tmp_path / "text.h5").write_text("no file of ours" * 10)
    with pytest.raises(nf.FileFormatError, match="^text.h5: "):
        nf.load_checkpoint(tmp_path / "text.h5")
    with pytest.raises(nf.FileFormatError, match="^none.h5: cannot be read"):
        nf.load_checkpoint(tmp_path / "none.h5")


def test_damaged_files(tmp_path):
    whole = forged(tmp_path / "run.h5").read_bytes()
    draw = np.random.default_rng(0)
    for at in draw.integers(0, len(whole), 60).tolist():
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            (tmp_path / "run.h5").write_bytes(damaged)
            with pytest.raises(nf.FileFormatError, match="^run.h5: "):
                nf.load_checkpoint(tmp_path / "run.h5")


json_nodes = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**64) | st.floats(-1, 2) | st.sampled_from(["w", "Adam", "ClipNorm"]),
    lambda inner: st.lists(inner, max_size=2)
    | st.builds(lambda x: {"tuple": x}, inner)
    | st.builds(lambda n, x: {"rule": n, "fields": x}, inner, inner | st.just(ADAM["fields"]))
    | st.dictionaries(st.sampled_from(["default", "step", "eta", "rule", "counters"]), inner, max_size=2),
    max_leaves=6,
)  # fmt: skip
places = st.sampled_from([(k,) for k in sorted(KEYS)] + [RULE, FIELDS, COUNTERS, (*FIELDS, "beta"), (*COUNTERS, 0)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(json_nodes, places)
def test_any_training_loads_or_raises_the_one_error(tmp_path, node, place):
    path = forged(tmp_path / "run.h5", put(node, *place))
    try:
        run = nf.load_checkpoint(path)
    except nf.FileFormatError as error:
        assert str(error).startswith("run.h5: ") and str(error).isprintable() and len(str(error)) <= 300
    else:
        assert repr(run) and run.opt_state.step == run.step
