"""How much memory a process that tries inputs may take."""

import resource


def confine(more: int) -> None:
    """So many bytes of address space more than the process has now; beyond, there is a MemoryError."""
    with open("/proc/self/statm") as file:
        most = int(file.read().split()[0]) * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
