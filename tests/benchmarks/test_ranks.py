"""The model of many ranks by hand; what is measured runs on one, on two ranks and on two hosts; page and pictures."""

import doctest
import importlib
import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

import numbaflux as nf
from benchmarks.ranks import launch, measure, model, page, predict
from benchmarks.ranks.cases import CASES, HIDING, case_of
from benchmarks.ranks.model import Compute, Network, Parts, Way, courier, longest
from benchmarks.ranks.plans import compute_from, compute_of, last_write
from benchmarks.ranks.predict import NETWORKS, RANKS, WAYS, at, ends, strong, weak
from benchmarks.ranks.timeline import BACKWARD, FORWARD, MEETING, SUM, UPDATE
from benchmarks.written import RESULTS
from numbaflux.lowering import Build, as_buf, cut
from numbaflux.plan import Plan
from tests.needs import missing

command = importlib.import_module("benchmarks.ranks.__main__")
ONE = Compute(loss=2.0, ready=((10.0, 100.0),), back=10.0, update=4.0)
TWO = Compute(loss=2.0, ready=((4.0, 60.0), (10.0, 40.0)), back=10.0, update=4.0)
WIRE = Network(latency=0.0, speed=10.0)
FREE = Network(0.0, float("inf"))


@pytest.fixture
def ranks():
    if not launch.MPIEXEC.exists():
        missing("mpich is not installed: pip install -e '.[dev]'")


def test_examples():
    assert doctest.testmod(model).failed == 0


# ---------------------------------------------------------------- arithmetic


def test_steps_until_all_have_heard():
    assert [model.steps(n) for n in (1, 2, 3, 4, 5, 8, 4096)] == [0, 1, 2, 2, 3, 3, 12]


def test_sums_by_hand():
    assert WIRE.sum(100, 2) == 10  # whole vectors, or halves there and back: as many bytes
    assert WIRE.sum(100, 4) == 15  # not 2 x 10
    assert Network(1, 10).sum(100, 4) == 4 + 15
    assert Network(1, 10).sum(10, 8) == min(3 * (1 + 1), 6 + 2 * 7 / 8)
    assert Network(1, 10, call=0.5).sum(0, 8) == 3.5
    assert Network(0, 10, adds=5).sum(100, 4) == 15 + 0.75 * 100 / 5
    assert Network(1, 10).scatter(100, 4) == Network(1, 10).gather(100, 4) == 2 + 7.5
    assert Network(0, 10, adds=5).scatter(100, 4) == 7.5 + 15
    assert Network(1, 10, call=0.5, adds=5).packed(100, 4) == 1 + (3 + 3.75) + 20 + (2 + 3.75)


def test_meetings_by_hand():
    assert Network(1, 96, call=0.5).meet(4) == 0.5 + 2 + 3  # 12 numbers of each other rank


def test_one_bucket_without_latency():
    network = Network(0, 10, call=1)
    assert model.predict(ONE, network, 1, Way()) == Parts(14, 0, 0)
    meeting = 1 + 96 / 10
    assert model.predict(ONE, network, 2, Way()) == Parts(14, pytest.approx(meeting + 11), 0)
    assert model.predict(ONE, network, 2, Way(overlap=True)).talk == pytest.approx(2 + meeting + 11 - 10)
    long = replace(ONE, ready=((30.0, 100.0),), back=30.0)
    assert model.predict(long, network, 2, Way(overlap=True)).talk == 11  # the meeting hides, the bucket cannot


def test_buckets_hide_one_after_another():
    assert courier([]) == 0
    assert courier([(1, 1), (5, 2), (5, 2)]) == 9
    quick = Network(0, 100)
    assert model.predict(TWO, quick, 2, Way()).talk == pytest.approx(0.96 + 1)
    assert model.predict(TWO, quick, 2, Way(overlap=True)).talk == pytest.approx(0.4)
    assert model.predict(TWO, WIRE, 2, Way(overlap=True)).talk == pytest.approx(2 + 9.6 + 10 - 10)


def test_shared_out_updates_and_updates_of_several_steps():
    work, talk, _ = model.predict(TWO, WIRE, 4, Way(sharded=True))
    assert (work, talk) == (11, pytest.approx(2 * 3 * 9.6 + 7.5 + 7.5))
    plain = model.predict(TWO, WIRE, 4, Way())
    several = model.predict(TWO, WIRE, 4, Way(accumulate=8))
    assert (several.compute, several.talk) == (10.5, pytest.approx(plain.talk / 8))
    assert model.predict(TWO, WIRE, 1, Way(accumulate=8)).total == 10.5


def test_half_of_the_bytes():
    assert model.predict(ONE, FREE, 2, Way(packed=True)).talk == 0
    assert model.predict(ONE, WIRE, 2, Way(packed=True)).talk == pytest.approx(9.6 + 5)


def test_waiting_for_the_slowest():
    drawn = np.random.default_rng(0).standard_normal((20_000, 64))
    for n in (2, 8, 64):
        assert longest(n) == pytest.approx(drawn[:, :n].max(1).mean(), abs=0.04)
    uneven = replace(ONE, spread=0.1)
    assert model.predict(uneven, FREE, 8, Way()).wait == pytest.approx(0.1 * 14 * longest(8))


def test_shares_between_what_was_measured():
    table = {4: Compute(1, ((5, 7),), 5, 3, 0.2), 8: Compute(2, ((9, 7),), 9, 3, 0.1)}
    assert at(table, 4) == table[4]
    assert at(table, 5) == Compute(1.25, ((6, 7),), 6, 3, pytest.approx(0.175))
    assert at(table, 16) == Compute(4, ((18, 7),), 18, 3, 0.1)
    assert at(table, 1) == table[4]


def test_efficiencies_on_a_network_that_takes_no_time():
    table = {1: Compute(0, ((1, 4),), 1, 0), 1024: Compute(0, ((1024, 4),), 1024, 0)}
    way = Way(overlap=True)
    assert weak(table, FREE, 64, way, 1024) == pytest.approx(1)
    assert strong(table, FREE, 64, way, 1024) == pytest.approx(1)
    table = {n: replace(c, update=1.0) for n, c in table.items()}
    assert strong(table, FREE, 64, way, 1024) == pytest.approx(1025 / 17 / 64)
    assert strong(table, FREE, 64, Way(sharded=True), 1024) == pytest.approx(1025 / (16 + 1 / 64) / 64)


def test_slower_networks_and_more_ranks_are_never_better():
    table = {8: replace(TWO, spread=0.01).times(1e-3, 1e-3)}
    found = predict.predictions("cnn", table, 1e-5, 5e9)
    for kind in ("weak", "strong"):
        rows = [found[label][kind] for label in NETWORKS]
        assert all((np.diff(row) <= 1e-12).all() for row in rows)
        assert (np.diff(rows, axis=0) >= 0).all()
    assert {len(found[label]["ways"]) for label in NETWORKS} == {len(WAYS)}


def test_where_it_ends():
    assert ends([0.9] * len(RANKS)) == RANKS[-1]
    assert ends([0.6, 0.5, 0.4] + [0.1] * (len(RANKS) - 3)) == 16
    assert ends([0.1] * len(RANKS)) == 0


def test_what_may_be_added():
    us = {"alone": 100.0, "together": 109.0, "transfer": 40.0}
    found = measure.allowance(us, 50.0)
    assert (found["added"], found["allowed"]) == (9, 8)
    assert measure.allowance(us, 10.0)["allowed"] == 30


# ---------------------------------------------------------------- a plan's times


def test_buckets_are_ready_with_the_last_wave_that_writes_them():
    x, grads, params = (as_buf(np.zeros(n, np.float32)) for n in (8, 16, 16))
    build = Build()
    first, second = grads.part(8, 8), grads.part(0, 8)
    build.add("elementwise.copy", cut(first, 8, write=True), cut(x, 8), rows=8, block=4)
    build.add("elementwise.copy", cut(second, 8, write=True), cut(first, 8), rows=4, block=2)
    build.add("elementwise.copy", cut(params, 16, write=True), cut(grads, 16), rows=16, block=16, commits=True)
    plan = Plan(build)
    assert [g.wave for g in plan.groups] == [0, 1, 2]
    assert (last_write(plan, grads, 32, 64), last_write(plan, grads, 0, 64)) == (0, 1)
    assert last_write(plan, params, 0, 64) == 0  # an update makes no gradient
    made = compute_from(plan, [1e9, 2e9, 4e9], 5e9, first, grads, [(32, 64), (0, 32)])
    assert made == Compute(loss=6, ready=((6, 32), (8, 32)), back=8, update=4)


def test_a_step_is_measured_whole():
    found = compute_of(case_of("lenet_b128", 4).training, 1)
    assert 0 < found.loss <= found.back < found.total
    assert 4 * 44_426 <= found.nbytes < 4 * 44_426 * 1.01  # LeNet's parameters, and what aligns them
    assert all(found.loss <= at <= found.back for at, _ in found.ready)


# ---------------------------------------------------------------- measured


def test_two_ranks_do_the_work_of_one(ranks):
    alone, both = (launch.asked(n, 2 // n, "step", case="lenet_b128", seconds=0.01) for n in (1, 2))
    assert both["loss"] == pytest.approx(alone["loss"], rel=1e-4)
    assert min(*both["us"], *alone["us"]) > 0


@pytest.mark.parametrize("name", CASES)
def test_cases_take_their_options(name):
    case = case_of(name)
    nf.DistributedOptimizer(nf.Adam(), nf.distributed.init(), **case.options)
    assert case.training.batch % 4 == 0
    assert case_of(name, 8).training.batch == 8


def test_sums_take_time(ranks):
    found = measure.local("sums", sizes=[8, 2**20], seconds=0.01)
    small, large = found["sums"]
    assert min(found["meet"], small) > 0
    assert large > 2**20 / 1e6  # no memory gives a terabyte a second; beside other work a small sum may wait longer
    assert measure.adding() > 1e8


def test_networks_are_told_by_two_sums():
    network = measure.network_of(lambda *_, **__: {"sums": [100, 100 + 2**22]})
    assert network == Network(0, 1e6, pytest.approx(1e-4))
    behind = measure.network_of(lambda *_, **__: {"sums": [100, 100 + 2**22]}, 3e-5)
    assert behind == Network(pytest.approx(7e-5), 1e6, 3e-5)


def test_a_rank_that_fails_says_why(ranks):
    with pytest.raises(RuntimeError, match="no such case"):
        launch.asked(2, 1, "step", case="no such case")


def test_spans_of_a_step_are_those_of_all_ranks(ranks):
    found = launch.asked(2, 1, "hidden", case=HIDING, batch=4, rounds=1, calls=1)
    assert found.keys() == {"us", "bytes", "spans"}
    assert found["bytes"] > 4 * 10**6
    for rank in (0, 1):
        own = [span for span in found["spans"] if span[0] == rank]
        assert {kind for _, kind, *_ in own} == {FORWARD, BACKWARD, UPDATE, MEETING, SUM}
        assert all(0 <= start <= end for *_, start, end in own)
        assert max(end for _, kind, _, end in own if kind == FORWARD) <= min(s for _, k, s, _ in own if k == BACKWARD)
        assert max(end for _, kind, _, end in own if kind == SUM) <= min(s for _, k, s, _ in own if k == UPDATE)


def test_two_hosts(ranks):
    try:
        with launch.two_hosts("1gbit") as ask:
            slow = measure.network_of(lambda what, **given: ask(what, seconds=0.01, **given))
    except SystemExit as reason:
        missing(str(reason))
    assert slow.speed < 1.3e8


# ---------------------------------------------------------------- command and page


def made_up():
    spans = [[rank, kind, 10 * kind + rank, 10 * kind + 9] for rank in (0, 1) for kind in range(5)]
    us = {"alone": 100.0, "together": 104.0, "transfer": 40.0}
    predictions = predict.predictions("cnn", {8: TWO.times(1e-3, 1e-3)}, 1e-5, 5e9)
    case = {"us": {"threads": 90.0, "ranks": 100.0, "alone": 200.0}, "ratio": 0.9, "target": 0.95}
    checks = {"2 ranks": {"cnn": {"model": [1e3, 2e3, 3e3], "measured": 12e3}}}
    link = measure.allowance(us, 50.0) | {"bytes": 10**6, "spans": spans}
    return {
        "targets": {"cases": {"slow": case, "quick": case | {"ratio": 0.96}, "free": case | {"target": 0.0}}},
        "model": {"networks": {}, "checks": checks, "predictions": {"cnn": predictions}},
        "hidden": {"links": {"1gbit": link | {"added": 7.0}, "250mbit": link | {"added": 9.0}}},
    }


def test_targets_that_are_missed():
    assert page.missed(made_up()) == ["slow", "hidden 250mbit"]
    assert page.missed({}) == []


def test_page_tables_and_pictures(tmp_path):
    (tmp_path / "docs").mkdir()
    marks = "".join(f"<!-- {part} -->\n<!-- /{part} -->\n" for part in page.BLOCKS)
    (tmp_path / page.PAGE).write_text(marks)
    page.write(tmp_path, made_up())
    text = (tmp_path / page.PAGE).read_text()
    assert "| slow | 0.1 | 0.1 | 0.90 | 0.95 | 0.2 |" in text
    assert "| 2 ranks | cnn | 1.00 | 2.00 | 3.00 | 6.00 | 12.00 | 0.50 |" in text
    assert "| 250mbit | 64 | 1.0 | 0.1 | 0.1 | 0.0 | 0.1 | 0.0 | 0.0 |" in text
    assert all((tmp_path / "docs" / picture).stat().st_size > 5000 for picture in page.PICTURES.values())
    assert json.loads((tmp_path / RESULTS / page.FILE).read_text()).keys() == set(page.BLOCKS)


def test_command_runs_the_parts_it_is_given(ranks, monkeypatch, capsys):
    @contextmanager
    def here(rate):
        yield lambda what, **given: measure.local(what, **given | {"case": "lenet_b128", "batch": 0, "rounds": 1})

    monkeypatch.setattr(command, "CASES", {"lenet_b128": replace(CASES["lenet_b128"], target=1e-3)})
    monkeypatch.setattr(command, "LINKS", {"1gbit": 16})
    monkeypatch.setattr(measure.hidden, "__defaults__", (here,))
    monkeypatch.setattr("sys.argv", ["ranks", "targets", "hidden", "--rounds", "1", "--seconds", "0.01", "--check"])
    code = command.main()
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0]
        == "| step | 1 rank x 2 threads, ms | 2 ranks x 1 thread, ms | ratio | target | ranks that do not talk, ms |"
    )
    assert lines[2].startswith("| lenet_b128 | ")
    assert any(line.startswith("| 1gbit | 16 | ") for line in lines)
    assert code == int(not lines[-1].startswith("0 targets missed"))


def test_command_refuses_what_it_does_not_know(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["ranks", "tragets"])
    with pytest.raises(SystemExit):
        command.main()
    assert "no part tragets: choose from targets, model, hidden" in capsys.readouterr().err


def test_the_step_that_hides_has_its_samples():
    assert case_of(HIDING).training.batch == measure.LINKS["1gbit"]
    assert case_of(HIDING, 64).training.batch == 64
