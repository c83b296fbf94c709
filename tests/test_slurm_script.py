"""numbaflux slurm script: what the text asks Slurm for, and what it does, with a srun and a scontrol made up."""

import itertools
import os
import shutil
import signal
import subprocess
import time

import pytest

import numbaflux as nf
from numbaflux.cli import main
from numbaflux.slurm import Job, script, seconds
from tests.test_cli import refused

MADE_BY = ("numbaflux", "slurm", "script", "train.py")
LAYOUTS = [{}, {"cpus": 4}, {"ranks_per_node": 2}, {"ranks_per_node": 2, "cpus": 4, "nodes": "2-3"}]
ENDS = [{}, {"requeue": False}, {"array": "0-8%3"}]
MORE = [
    {},
    {"module": ("python/3.12", "mpich"), "venv": "/home/me/my venv", "env": {"A": "it's $HOME", "B": ""}},
    {"partition": "a,b", "account": "me", "memory": "64G", "gpus": 2, "mpi": "pmix", "container": "/images/a b.sif"},
]
COMMANDS = [("train.py", "--epochs", "3"), ("./my program", "a b", "it's", "$HOME", "`ls`", "two\nlines", "", "#", ";")]
JOBS = [
    Job(command=command, **layout, **end, **more)
    for layout, end, more, command in itertools.product(LAYOUTS, ENDS, MORE, COMMANDS)
]


def printed(capsys, *words):
    assert main(["slurm", "script", *map(str, words)]) == 0
    return capsys.readouterr().out


def asked(text):
    """What the #SBATCH lines say: option -> value."""
    lines = [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


# ---------------------------------------------------------------------------------------------------------- the text


def test_bash_reads_every_variant(tmp_path):
    files = []
    for i, job in enumerate(JOBS):
        files.append(tmp_path / f"{i}.sh")
        files[-1].write_text(script(job, (*MADE_BY, "two\nlines")))
        assert subprocess.run(["bash", "-n", files[-1]], capture_output=True, text=True).stderr == "", job
    if shutil.which("shellcheck"):
        command = ["shellcheck", "--shell=bash", "--exclude=SC1091,SC2016", *files]  # files and dollars of users
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "")


def test_a_rank_for_each_gpu(capsys):
    for words, ranks in ((["--gpus", "4"], "4"), (["--gpus", "4", "--cpus", "8"], "4"),
                         (["--gpus", "4", "--ranks-per-node", "2"], "2")):  # fmt: skip
        text = printed(capsys, *words, "train.py")
        found = asked(text)
        assert (found["gpus-per-node"], found["ntasks-per-node"]) == ("4", ranks)
        assert "ranks=$SLURM_NTASKS_PER_NODE" in text


def test_slurm_reads_its_lines_first():
    """Slurm stops looking at the first line that is neither blank nor a comment."""
    for job in JOBS:
        lines = script(job, MADE_BY).splitlines()
        last = max(i for i, line in enumerate(lines) if line.startswith("#SBATCH"))
        assert all(line.startswith("#") for line in lines[: last + 1])


def test_a_line_of_the_command_cannot_leave_its_comment():
    lines = script(JOBS[0], (*MADE_BY, "\nrm -rf /", "\r#SBATCH --nodes=9")).splitlines()
    assert lines[1] == "# Made by: numbaflux slurm script train.py '?rm -rf /' '?#SBATCH --nodes=9'"


def test_options_of_the_job(capsys):
    words = "--nodes 4 --ranks-per-node 2 --cpus 16 --time 2-12 --partition fast --account me --gpus 2 --array 0-8%3"
    more = "--job-name mine --memory 64G --signal 300 --no-requeue --mpi pmix"
    assert asked(printed(capsys, *words.split(), *more.split(), "train.py")) == {
        "job-name": "mine", "partition": "fast", "account": "me", "nodes": "4", "ntasks-per-node": "2",
        "cpus-per-task": "16", "gpus-per-node": "2", "mem": "64G", "time": "2-12", "array": "0-8%3",
        "output": "%x-%A_%a.log", "open-mode": "append", "signal": "B:USR1@300", "no-requeue": "",
    }  # fmt: skip


def test_unless_told_nodes_are_taken_whole(capsys):
    text = printed(capsys, "my train.py", "--nodes", "9")
    assert text.startswith("#!/bin/bash\n# Made by: numbaflux slurm script 'my train.py' --nodes 9\n")
    assert asked(text) == {
        "job-name": "my-train", "nodes": "1", "mem": "0", "time": "1:00:00", "output": "%x-%j.log",
        "open-mode": "append", "signal": "B:USR1@120", "exclusive": "", "requeue": "",
    }  # fmt: skip
    assert "srun -K1 --mpi=pmi2 --cpu-bind=cores" in text


def test_a_job_of_one_rank_by_its_cpus_alone(capsys):
    found = asked(printed(capsys, "--cpus", "8", "train.py"))
    assert (found["ntasks-per-node"], found["cpus-per-task"]) == ("1", "8") and "exclusive" not in found


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "numbaflux slurm script: the following arguments are required: PROGRAM"),
        (["--nodes=0"], "slurm: nodes must be a number, or least-most such as 1-2, got 0"),
        (["--nodes=3-2"], "slurm: nodes must be least-most, got 3-2"),
        (["--nodes=2\n#SBATCH --uid=0"], "slurm: nodes must be a number, or least-most such as 1-2, got 2"),
        (["--time=soon"], "slurm: time must be minutes, h:mm:ss, d-h or d-h:mm:ss, got soon"),
        (["--job-name=a b"], "slurm: job_name must be letters, digits and . _ @ + -, got a b"),
        (["--partition=a b"], "slurm: partition must be a name, or several with commas between, got a b"),
        (["--account=a\nb"], "slurm: account must be a name, got a b"),
        (["--memory=much"], "slurm: memory must be that of a node, such as 64G or 500M, got much"),
        (["--array=x"], "slurm: array must be numbers such as 0-8 or 0-99%4, got x"),
        (["--cpus=0"], "slurm: cpus must be an integer in [1, inf), got 0"),
        (["--cpus=x"], "argument --cpus: invalid int value: 'x'"),
        (["--ranks-per-node=0"], "slurm: ranks_per_node must be an integer in [1, inf), got 0"),
        (["--gpus=-1"], "slurm: gpus must be an integer in [0, inf), got -1"),
        (["--max-restarts=-1"], "slurm: max_restarts must be an integer in [0, inf), got -1"),
        (["--signal=0"], "slurm: signal must be an integer in [1, 65536), got 0"),
        (["--time=1", "--signal=60"], "slurm: signal must be less than the 60 s of time, got 60"),
        (["--mpi=none"], "argument --mpi: invalid choice: 'none'"),
        (["--env=A"], "argument --env: must be NAME=VALUE, got A"),
        (["--env=1A=2"], "slurm: env must be NAME=VALUE, the name of letters, digits and _, got 1A"),
        (["--memory=1G", "--model=m.h5"], "argument --model: not allowed with argument --memory"),
        (["--model=m.h5"], "slurm: model must be given with input_shape, and they with it, got one alone"),
        (["--batch=8"], "slurm: model must be given with input_shape, and they with it, got one alone"),
        (["--model=m.h5", "--input-shape=4,3"], "slurm: cpus must be given with model, got None; a whole node comes"),
        (["--model=no.h5", "--input-shape=4,3", "--cpus=1"], "no.h5"),
        (["--model=m.h5", "--input-shape=4,3", "--cpus=1", "--batch=0"], "DataLoader: batchsize must be an integer"),
    ],
)
def test_bad_options_are_one_line(words, message, capsys):
    assert message in refused(capsys, "slurm", "script", *words, *(["train.py"] if words else []))


def test_help_has_examples_that_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nf.save("model.h5", nf.Chain(nf.Conv((3, 3), 1, 2), nf.flatten, nf.Dense(2 * 26 * 26, 10)))
    for words in (["slurm"], ["slurm", "script"]):
        with pytest.raises(SystemExit):
            main([*words, "--help"])
        found = [line.split(">")[0].split() for line in capsys.readouterr().out.splitlines()]
        shown = [line[1:] for line in found if line[:3] == ["numbaflux", "slurm", "script"]]
        assert len(shown) == 3
        for line in shown:
            assert printed(capsys, *line[2:]).startswith("#!/bin/bash\n")


def test_time_limits_in_seconds():
    day = 86400
    known = {"7": 420, "7:08": 428, "1:02:03": 3723, "2-3": 2 * day + 10800, "2-3:4": 2 * day + 11040}
    assert {text: seconds(text) for text in known} == known and seconds("1-2:3:4") == day + 7384


# -------------------------------------------------------------------------------------------------------- what it does

SRUN = """#!/bin/bash
printf '%s ' "$@" >>"$LOG/srun"; echo >>"$LOG/srun"
while [[ $1 == -* ]]; do shift; done
exec "$@"
"""
PYTHON = """#!/bin/bash
printf '%s\\0' "$@" >"$LOG/arguments"
env -0 >"$LOG/environment"
"""


class Node:
    """A folder with commands in place of Slurm's, in which scripts run; body: what the program does."""

    def __init__(self, folder, body="exit 0"):
        self.folder, self.log = folder, folder / "log"
        self.log.mkdir()
        commands = {"srun": SRUN, "python": PYTHON + body, "scontrol": '#!/bin/bash\necho "$@" >>"$LOG/scontrol"\n'}
        for name, text in commands.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    def start(self, job, **env):
        known = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_ON_NODE": "8", "LOG": str(self.log)}
        known |= {"SLURM_NTASKS_PER_NODE": str(job.ranks or 1), "HOME": "/home/me"}
        known |= {"SLURM_CPUS_PER_TASK": str(job.cpus)} if job.cpus else {}
        (self.folder / "job.sh").write_text(script(job, MADE_BY))
        path = f"{self.folder}:/usr/bin:/bin"
        return subprocess.Popen(
            ["bash", self.folder / "job.sh"], env=known | {"PATH": path} | env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, job, **env):
        process = self.start(job, **env)
        self.said = process.communicate(timeout=60)
        return process.returncode

    def lines(self, name):
        path = self.log / name
        return [line.rstrip() for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def environment(self):
        pairs = (self.log / "environment").read_text().split("\0")[:-1]
        return dict(pair.split("=", 1) for pair in pairs)

    def wait_for(self, name):
        end = time.monotonic() + 60
        while not (self.log / name).exists():
            assert time.monotonic() < end
            time.sleep(0.01)


def train(**more):
    return Job(command=("train.py",), **more)


def test_each_rank_gets_its_cpus(tmp_path):
    node = Node(tmp_path)
    assert node.run(train(nodes="2", ranks_per_node=2, cpus=3)) == 0
    start = "-K1 --mpi=pmi2 --cpu-bind=cores --nodes=2 --ntasks=4 --ntasks-per-node=2 --cpus-per-task=3 python train.py"
    assert node.lines("srun") == [start] and node.lines("scontrol") == []


def test_whole_nodes_are_cut_into_ranks(tmp_path):
    node = Node(tmp_path)
    assert node.run(train(ranks_per_node=4)) == 0
    assert "--ntasks=8 --ntasks-per-node=4 --cpus-per-task=2 " in node.lines("srun")[0]


def test_whole_nodes_are_cut_into_memory_domains(tmp_path):
    node = Node(tmp_path)
    (tmp_path / "cat").write_text("#!/bin/bash\nprintf '0-3\\n\\n4-7\\n'\n")  # two domains, and one of memory alone
    (tmp_path / "cat").chmod(0o755)
    assert node.run(train()) == 0
    assert "--ntasks=4 --ntasks-per-node=2 --cpus-per-task=4 " in node.lines("srun")[0]
    assert node.run(train(), SLURM_CPUS_ON_NODE="1") == 0
    assert "--ntasks=2 --ntasks-per-node=1 --cpus-per-task=1 " in node.lines("srun")[1]


@pytest.mark.parametrize("words", [job.command for job in JOBS[:2]], ids=["plain", "strange"])
def test_the_program_gets_its_words_as_they_are(words, tmp_path):
    node = Node(tmp_path)
    shutil.copy(tmp_path / "python", tmp_path / "my program")
    assert node.run(Job(command=(words[0].replace("./", f"{tmp_path}/"), *words[1:]))) == 0
    got = tuple((node.log / "arguments").read_text().split("\0")[:-1])
    assert got == (words if words[0] == "train.py" else words[1:])


def test_environment_of_the_program(tmp_path):
    node, job = Node(tmp_path), train(env={"A": "it's $HOME\n", "NUMBA_NUM_THREADS": "3"})
    before = {"PMI_SIZE": "4", "SLURM_CPU_BIND": "x", "SLURM_MEM_PER_CPU": "1", "NUMBAFLUX_CACHE_PATH": "/sw/kernels"}
    assert node.run(job, **before, NUMBA_NUM_THREADS="1", SLURM_TMPDIR="/scratch") == 0
    found = node.environment
    assert found["A"] == "it's $HOME\n" and found["NUMBA_NUM_THREADS"] == "3"
    assert not {"PMI_SIZE", "SLURM_CPU_BIND", "SLURM_MEM_PER_CPU"} & found.keys()
    assert found["NUMBAFLUX_CACHE_PATH"] == "/sw/kernels:/home/me/.cache/numbaflux"
    assert found["NUMBAFLUX_CACHE_DIR"] == f"/scratch/numbaflux-{os.getuid()}"
    assert node.run(train(), NUMBAFLUX_CACHE_DIR="/kept") == 0
    found = node.environment
    assert "NUMBA_NUM_THREADS" not in found and found["NUMBAFLUX_CACHE_PATH"] == "/kept"
    assert found["NUMBAFLUX_CACHE_DIR"] == f"/tmp/numbaflux-{os.getuid()}"


def test_container_and_venv(tmp_path):
    node = Node(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "activate").write_text("export ACTIVE=yes\n")
    (tmp_path / "apptainer").write_text('#!/bin/bash\n[[ "$1 $2" == "exec a b.sif" ]] || exit 9\nshift 2\nexec "$@"\n')
    (tmp_path / "apptainer").chmod(0o755)
    assert node.run(train(container="a b.sif", venv=str(tmp_path))) == 0
    assert node.environment["ACTIVE"] == "yes"
    assert node.lines("srun")[0].endswith(" apptainer exec a b.sif python train.py")
    assert node.run(train(venv=str(tmp_path / "none"))) == 1


# ---------------------------------------------------------------------------------------------------------- how it ends


@pytest.mark.parametrize("code", [0, 1, 137])
def test_exit_codes_are_handed_on(code, tmp_path):
    node = Node(tmp_path, f"exit {code}")
    assert node.run(train()) == code and node.lines("scontrol") == []


def test_a_training_that_is_not_done_goes_back_to_the_queue(tmp_path):
    node = Node(tmp_path, "exit 75")
    assert node.run(train()) == 75 and node.lines("scontrol") == ["requeue 7"]
    assert node.run(train(max_restarts=2), SLURM_RESTART_COUNT="1") == 75
    assert node.run(train(array="0-3"), SLURM_ARRAY_JOB_ID="5", SLURM_ARRAY_TASK_ID="3") == 75
    assert node.lines("scontrol") == ["requeue 7", "requeue 7", "requeue 5_3"]
    assert node.run(train(requeue=False)) == 75
    assert node.run(train(max_restarts=2), SLURM_RESTART_COUNT="2") == 1
    assert node.said[1] == "not done after 2 restarts\n"
    assert len(node.lines("scontrol")) == 3


USED = 'trap "exit 75" USR1; trap "touch $LOG/ended" TERM; touch "$LOG/started"; while :; do sleep 0.05; done'


def test_usr1_reaches_the_program(tmp_path):
    node = Node(tmp_path, USED)
    process = node.start(train())
    node.wait_for("started")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 75 and node.lines("scontrol") == ["requeue 7"]


def test_ranks_that_leave_late_are_no_failure(tmp_path):
    """srun -K1 ends them where the first one leaves with 75, and gives their code."""
    node = Node(tmp_path, USED.replace("exit 75", "exit 143"))
    process = node.start(train())
    node.wait_for("started")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 75 and node.lines("scontrol") == ["requeue 7"]
    (tmp_path / "python").write_text(PYTHON + "exit 143")
    assert node.run(train()) == 143


def test_the_script_waits_for_a_program_that_takes_its_time(tmp_path):
    body = "trap 'n=$((n + 1)); ((n == 3)) && exit 75' USR1; n=0; touch \"$LOG/started\"; while :; do sleep 0.05; done"
    node = Node(tmp_path, body)
    process = node.start(train())
    node.wait_for("started")
    for _ in range(3):
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.3)
    assert process.wait(timeout=60) == 75


def test_a_cancelled_job_does_not_come_back(tmp_path):
    """scancel tells the script and the ranks: these write the checkpoint too, and exit with 75."""
    node = Node(tmp_path, USED)
    process = node.start(train())
    node.wait_for("started")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 75 and node.lines("scontrol") == []
