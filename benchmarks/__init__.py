"""bench_*.py are for asv, which imports every module and package here: the folders are none, as they need PyTorch."""
