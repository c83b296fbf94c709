"""Operations on rows that meet by index: their product, the largest of each column. Their sum is move.SCATTER_ADD."""

from __future__ import annotations

from typing import Any

from ..lowering import Int
from ..op import Op, example
from .elementwise import DIV, EQUAL, FILL, MUL, WHERE
from .move import SCATTER_ADD, TAKE, scatter_lower, scattered


def _back(c: Any, dy: Any) -> tuple[Any, Any]:
    """What became of each row of x, and the gradient that came to it."""
    what = c.attrs.get("what", "")
    y, dy = (c.apply(TAKE, table, c.inputs[1], what=what) for table in (c.y, dy))
    return y, dy


def _max_grad(c: Any, dy: Any) -> Any:
    """In equal parts to those that are the largest."""
    y, dy = _back(c, dy)
    chosen = c.apply(EQUAL, c.x, y)
    zero, one = (c.apply(FILL, dy, value=value) for value in (0.0, 1.0))
    equals = c.apply(SCATTER_ADD, c.apply(WHERE, chosen, one, zero), c.inputs[1], **c.attrs)
    count = c.apply(TAKE, equals, c.inputs[1], what=c.attrs.get("what", ""))
    return c.apply(DIV, c.apply(WHERE, chosen, dy, zero), c.apply(WHERE, chosen, count, one))


def _product_grad(c: Any, dy: Any) -> Any:
    """The product of the others: of numbers that are not 0."""
    y, dy = _back(c, dy)
    return c.apply(MUL, dy, c.apply(DIV, y, c.x))


_SHOWN = example("fi", (2, 3), (2,), rows=4)
# the largest of the rows that index sends to each row of the table, -inf where there is none
SCATTER_MAX = Op(
    "scatter_max",
    scattered,
    scatter_lower("scatter.scatter_fold", Int(0)),
    (_max_grad, None),
    examples=(_SHOWN,),
)
# their product, 1 where there is none; what is 0 must be left out by the caller, for its gradient is that of others
SCATTER_PRODUCT = Op(
    "scatter_product",
    scattered,
    scatter_lower("scatter.scatter_fold", Int(1)),
    (_product_grad, None),
    examples=(_SHOWN,),
)

OPS = (SCATTER_MAX, SCATTER_PRODUCT)
