from spack.package import depends_on, license, variant, version
from spack_repo.builtin.build_systems.python import PythonPackage


class PyNumbaflux(PythonPackage):
    """Deep learning in the style of Flux.jl for Python on clusters, compiled by Numba."""

    license("MIT")

    version("0.1.0")

    variant("mpi", default=True, description="Trainings of many ranks")

    depends_on("python@3.11:3.15", type=("build", "run"))
    depends_on("py-setuptools@77:", type="build")
    depends_on("py-numba@0.68.1:0.68", type=("build", "run"))
    depends_on("py-llvmlite@0.50.0:0.50", type=("build", "run"))
    depends_on("py-numpy@2.0:2.5", type=("build", "run"))
    depends_on("py-h5py@3.12:3", type=("build", "run"))
    depends_on("py-tqdm@4.66:4", type=("build", "run"))
    depends_on("py-mpi4py@4.1:4", type=("build", "run"), when="+mpi")
