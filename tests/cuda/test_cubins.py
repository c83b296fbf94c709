"""Every CUDA kernel as machine code for two generations of GPUs, made by the real compilers without a GPU."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from numbaflux import warm
from numbaflux.kernels.cuda.launch import variants
from numbaflux.objects import unpack
from tests.cuda.machine_code import PYTHON, WHERE, MachineCode, machine_code
from tests.needs import missing
from tests.sources import ROOT

GENERATIONS = {(8, 0): 0, (9, 0): 1024}  # bytes of shared memory that each keeps for itself
BATCH = 24  # entries that one process compiles
# Modules, and kernels, that a GPU has no use for: what runs tiles, files, images in lanes.
WITHOUT = ("runner", "sha256", "lanes", "conv.conv_images", "conv.conv_images_grad_w")
# Kernels on float32 that go through their elements in float64.
DOUBLES = {
    "elementwise.cast": "from float64 too",
    "elementwise.pow": "a power needs twice the digits on the way, as on the CPU",
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


def wanted() -> dict[str, list[object]]:
    """Name -> what to build; of every entry of the registry and the rules, and of each generation."""
    found = {}
    for module, function, signature in warm.entries().values():
        folder, _, name = module.rpartition(".")
        if folder == "cpu" and not {name, f"{name}.{function}"} & {*WITHOUT}:
            for kernel, threads in variants(f"{name}.{function}", signature):
                for generation in GENERATIONS:
                    text = f"{kernel} {' '.join(signature)} sm_{generation[0]}{generation[1]}"
                    found[text] = [kernel, signature, threads, generation]
    return found


WANTED = wanted()


def compiled(share: list[list[object]]) -> list[bytes]:
    """The cubins of some entries, from a process that has numba-cuda."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")} | {"PYTHONPATH": str(ROOT)}
    command = [PYTHON if PYTHON.exists() else missing(WHERE), "-P", "-m", "numbaflux.cubin"]
    done = subprocess.run(command, input=json.dumps(share).encode(), env=env, capture_output=True, check=False)
    made = unpack(done.stdout)
    assert made is not None, done.stderr.decode()[-3000:]
    return [made[str(i)].partition(b"\0")[2] for i in range(len(share))]


@pytest.fixture(scope="session")
def codes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MachineCode]:
    """The machine code of all, by name: compiled by several processes."""
    folder, names = tmp_path_factory.mktemp("cubins"), list(WANTED)
    shares = [names[i : i + BATCH] for i in range(0, len(names), BATCH)]

    def do(share: list[str]) -> dict[str, MachineCode]:
        found = {}
        for name, code in zip(share, compiled([WANTED[n] for n in share]), strict=True):
            path = Path(folder / f"{names.index(name)}.cubin")
            path.write_bytes(code)
            found[name] = machine_code(path, GENERATIONS[tuple(WANTED[name][3])])
        return found

    with ThreadPoolExecutor(os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()) as pool:
        return {name: code for part in pool.map(do, shares) for name, code in part.items()}


@pytest.mark.parametrize("name", WANTED)
def test_machine_code(codes, name):
    code, signature = codes[name], WANTED[name][1]
    assert code.spills == 0 and code.stack == 0
    assert code.registers <= 128
    assert code.shared <= 48 * 1024
    kernel = str(WANTED[name][0])
    module, _, function = kernel.partition(".")
    if not signature[0].startswith("f8") and kernel not in DOUBLES:
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
