"""After all tests: whether the simulator has run every kernel in each dtype, those of a file in all orders of threads.

python -m tests.cuda.covered FOLDER, where the tests have left what they ran (NUMBAFLUX_SIMULATED).
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from numbaflux.kernels.cuda.launch import variants
from tests.cuda.kernels import ASKED
from tests.cuda.simulator import ORDERS

NAMES = {"f4": "float32", "f8": "float64"}


def missing(ran: set[tuple[str, str, str]]) -> Iterator[str]:
    """What of a kernel was not run."""
    dtypes, orders = {(kernel, dtype) for kernel, dtype, _ in ran}, {(r[0].partition(".")[0], r[2]) for r in ran}
    for name, signatures in ASKED.items():
        for codes in signatures:
            for kernel, _ in variants(name, codes):
                kind = next((NAMES[code[:2]] for code in codes if code[:2] in NAMES and ":" in code), "")
                if (kernel, kind) not in dtypes:
                    yield f"{kernel}: not in {kind}"
        module = name.partition(".")[0]
        yield from (f"{module}: not {order}" for order in ORDERS if (module, order) not in orders)


def main(folder: str) -> None:
    ran = {tuple(found) for path in Path(folder).glob("*.json") for found in json.loads(path.read_text())}
    left = sorted({*missing(ran)})
    sys.exit("Never simulated:\n  " + "\n  ".join(left) if left else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
