"""The files that the path of a Checkpoint stands for: their names, and which are there."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from string import Formatter
from typing import Any

from ..op import RangeError, expect

NUMBER = r"(?:[-+0-9., _%e]+| *[-+]?(?:nan|inf)%?)"  # whatever a format makes of a number


class Pattern:
    """A path, which may have numbers in it by name: run-{epoch:03}.h5.

    >>> Pattern("run-{epoch:03}.h5").name({"epoch": 7, "loss": 0.5})
    'run-007.h5'
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def name(self, numbers: Mapping[str, Any]) -> str:
        """The file for some numbers."""
        try:
            return self.path.format(**numbers)
        except (LookupError, ValueError, AttributeError, TypeError) as error:
            names = ", ".join(f"{{{name}}}" for name in numbers)
            raise RangeError(f"Checkpoint: path must be with {names} alone, got {self.path!r} ({error!r})") from None

    def _parts(self) -> tuple[str, list[tuple[str, str | None]]]:
        """The folder; texts of the file's name, each with the number behind it."""
        folder, base = os.path.split(self.path)
        try:
            above, parts = list(Formatter().parse(folder)), list(Formatter().parse(base))
        except ValueError as error:
            raise RangeError(f"Checkpoint: path must be a path with {{names}}, got {self.path!r} ({error})") from None
        plain = all(field is None for _, field, _, _ in above)
        expect(plain, "Checkpoint", "path", "with names in the file's own name alone", repr(self.path))
        return "".join(text for text, *_ in above), [(text, field) for text, field, _, _ in parts]

    @property
    def aside(self) -> str:
        """The file of a training that was stopped between two turns, whose numbers are not known then.

        >>> Pattern("run-{epoch:03}-{loss:.2f}.h5").aside, Pattern("best.h5").aside
        ('run-stopped.h5', 'best-stopped.h5')
        """
        folder, parts = self._parts()
        numbers = [i for i, (_, field) in enumerate(parts) if field is not None]
        texts = [text for text, _ in parts]
        if not numbers:
            stem, suffix = os.path.splitext("".join(texts))
            return os.path.join(folder, f"{stem}-stopped{suffix}")
        before, behind = texts[: numbers[0] + 1], texts[numbers[-1] + 1 :]
        return os.path.join(folder, "".join([*before, "stopped", *behind]))

    def found(self) -> dict[str, int]:
        """The files that are there and may be of this pattern, each with its {batches}, or 0."""
        folder, parts = self._parts()
        match = ""
        for text, field in parts:
            named = field == "batches" and "?P<" not in match
            match += re.escape(text) + ("" if field is None else f"(?P<batches>{NUMBER})" if named else NUMBER)
        try:
            names = sorted(os.listdir(folder or "."))
        except OSError:
            names = []  # which is refused before the first step
        hits = [(name, re.fullmatch(match, name)) for name in names]
        found = {os.path.join(folder, name): _whole(hit.groupdict().get("batches", "")) for name, hit in hits if hit}
        aside = self.aside
        return found | ({aside: 0} if os.path.basename(aside) in names else {})


def _whole(text: str) -> int:
    """The number in a file's name."""
    digits = re.sub(r"[^0-9]", "", text)
    return int(digits) if digits else 0
