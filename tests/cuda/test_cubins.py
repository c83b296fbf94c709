"""Every CUDA kernel as machine code for two generations of GPUs, made by the real compilers without a GPU."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from numbaflux.build import Signature
from numbaflux.kernels.cuda.launch import variants
from numbaflux.native import pool
from numbaflux.objects import unpack
from tests.cuda.kernels import ASKED, VARIANTS
from tests.cuda.machine_code import MachineCode, Usage, machine_code, usage, with_cuda
from tests.sources import ROOT

GENERATIONS = {(8, 0): 0, (9, 0): 1024}  # bytes of shared memory that each keeps for itself
NEWEST = max(GENERATIONS)
BATCH = 48  # that one process compiles
# Kernels on float32 that go through their elements in float64.
DOUBLES = {
    "ctc.grad": "probabilities of all alignments are added up in float64, as on the CPU",
    "ctc.loss": "the same",
    "elementwise.cast": "from float64 too",
    "elementwise.pow": "a power needs twice the digits on the way, as on the CPU",
    "norm.grad_factors": "sums of all tiles are float64: few numbers",
    "norm.join_slots": "the same",
    "norm.moments": "a tile's sums become float64 where those of its threads are joined",
    "norm.sums": "the same",
    "optim.join": "norms are joined in float64: few numbers",
    "optim.norm": "sums of powers are float64, whose range they need",
    "optim.rounded": "drops the last bits of a float64: that is how it rounds to any format",
    "optim.trust": "norms are joined in float64: few numbers",
    "random.uniform": "a random number is spread in float64, so that no number is drawn more often than others",
}
# What multiplies in the kernels that round, and how often for all that lies in the block's memory at once. A fifth of
# the inner loop: a warp's other instructions go while its tensor core is at work, which takes several cycles for each.
TENSOR = {"dense.product_tf32": ("HMMA.1688.F32.TF32", 32), "dense.product_bf16": ("HMMA.16816.F32.BF16", 16)}
VECTORS = ("elementwise", "activation", "optim")  # of elements that lie side by side: 16 bytes at once
PLAIN = {
    "elementwise": ["cast"],
    "optim": "gate join norm rounded tick trust".split(),
}


def in_double(signature: Signature) -> bool:
    """Whether all floating numbers of an entry are float64."""
    return {code[:2] for code in signature if code[0] == "f"} == {"f8"}


def wanted() -> dict[str, list[object]]:
    """Name -> what to build: all kernels that the registry and the rules ask for, next to each other what takes from
    the same file."""
    return {
        f"{kernel} {' '.join(signature)} sm_{generation[0]}{generation[1]}": [kernel, signature, threads, generation]
        for name, signatures in ASKED.items()
        for signature in signatures
        for kernel, threads in variants(name, signature)
        for generation in GENERATIONS
    }


WANTED = wanted()
# What is looked for in the instructions, is looked for where no numbers are float64 alone, for one generation.
TAKEN_APART = [name for name, (_, codes, _, of) in WANTED.items() if of == NEWEST and not in_double(codes)]


def compiled(share: list[list[object]]) -> list[bytes]:
    """The cubins of some entries, from a process that has numba-cuda."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")} | {"PYTHONPATH": str(ROOT)}
    command = [with_cuda(), "-P", "-m", "tests.cuda.build_cubins"]
    done = subprocess.run(command, input=json.dumps(share).encode(), env=env, capture_output=True, check=False)
    made = unpack(done.stdout)
    assert made is not None, done.stderr.decode()[-3000:]
    return [made[str(i)].partition(b"\0")[2] for i in range(len(share))]


@pytest.fixture(scope="session")
def cubins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All as files, by name: compiled by several processes."""
    folder, names = tmp_path_factory.mktemp("cubins"), list(WANTED)
    shares = [names[i : i + BATCH] for i in range(0, len(names), BATCH)]
    paths = {name: folder / f"{i}.cubin" for i, name in enumerate(names)}

    def do(share: list[str]) -> None:
        for name, code in zip(share, compiled([WANTED[n] for n in share]), strict=True):
            paths[name].write_bytes(code)

    with ThreadPoolExecutor(pool().allowed) as workers:
        list(workers.map(do, shares))
    return paths


@pytest.fixture(scope="session")
def codes(cubins: dict[str, Path]) -> dict[str, MachineCode]:
    with ThreadPoolExecutor(pool().allowed) as workers:
        return dict(zip(TAKEN_APART, workers.map(lambda name: machine_code(cubins[name]), TAKEN_APART), strict=True))


@pytest.mark.parametrize("name", WANTED)
def test_usage(cubins, name):
    """A number that had no register would be in the stack."""
    found: Usage = usage(cubins[name], GENERATIONS[WANTED[name][3]])
    assert found.stack == 0
    assert found.registers <= 128
    assert found.shared <= 48 * 1024


@pytest.mark.parametrize("name", TAKEN_APART)
def test_instructions(codes, name):
    code, (kernel, signature, *_) = codes[name], WANTED[name]
    module, _, function = kernel.partition(".")
    assert code.spills == 0
    if kernel not in DOUBLES:
        assert code.repeated_doubles == 0
    if module in VECTORS and function not in PLAIN.get(module, ()):
        assert code.count("LDG.E.128") > 0 or function == "fill"
        assert code.count("STG.E.128") > 0 or signature[0] == "b1:1"
    if kernel == "dense.product_large":
        assert code.share() >= 0.8
    if kernel in TENSOR:
        instruction, wide = TENSOR[kernel]
        assert code.count(instruction) == 5 * wide  # in three loops, and behind two of them
        assert code.share() >= 0.17 and code.count("LDG.E.128") > 0 and code.count("STG.E.128") > 0


def test_every_kernel_is_compiled_for_both_generations():
    found = {(kernel, generation) for kernel, _, _, generation in WANTED.values()}
    assert found == {(kernel, generation) for kernel in VARIANTS for generation in GENERATIONS}
