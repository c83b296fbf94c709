#!/bin/bash
# Made by: numbaflux slurm script --nodes 2 --gpus 4 --cpus 16 --memory 128G examples/slurm/train.py --gpu
#SBATCH --job-name=train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --mem=128G
#SBATCH --time=1:00:00
#SBATCH --output=%x-%j.log
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
#SBATCH --requeue

# Left behind by other jobs and login files. Threads follow from the CPUs that a rank is given.
unset SLURM_CPU_BIND SLURM_CPU_BIND_LIST SLURM_CPU_BIND_TYPE SLURM_CPU_BIND_VERBOSE \
    SLURM_MEM_PER_CPU SLURM_MEM_PER_GPU \
    PMI_RANK PMI_SIZE PMIX_RANK OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_SIZE \
    NUMBA_NUM_THREADS

ranks=$SLURM_NTASKS_PER_NODE cpus=$SLURM_CPUS_PER_TASK # of a node; of a rank

# Kernels are read from where they were kept before; new ones stay on the node: no two write to one place.
kept=${NUMBAFLUX_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/numbaflux}
export NUMBAFLUX_CACHE_PATH=${NUMBAFLUX_CACHE_PATH:+$NUMBAFLUX_CACHE_PATH:}$kept
export NUMBAFLUX_CACHE_DIR=${SLURM_TMPDIR:-/tmp}/numbaflux-$UID

# USR1 comes 120 s before the time limit: the ranks end their step, write the checkpoint and exit with 75.
warned=0 ended=0
trap 'warned=1; kill -USR1 "$step"' USR1
trap 'ended=1' TERM # scancel; Slurm tells the ranks itself

# In the background, as a shell that waits in the foreground serves no trap.
srun -K1 --mpi=pmi2 --cpu-bind=cores --nodes="$SLURM_JOB_NUM_NODES" \
    --ntasks="$((ranks * SLURM_JOB_NUM_NODES))" --ntasks-per-node="$ranks" --cpus-per-task="$cpus" \
    python examples/slurm/train.py --gpu &
step=$!
while kill -0 "$step" 2>/dev/null; do wait "$step"; done # a signal ends wait, not the step
wait "$step"
code=$?
((warned && code == 128 + 15)) && code=75 # srun -K1 ends ranks that leave after the first one

# Back to the queue, unless the job was cancelled. Where scontrol is not there, RequeueExit=75 of the site does it.
if ((code == 75 && !ended)); then
    if ((${SLURM_RESTART_COUNT:-0} >= 20)); then
        echo "not done after 20 restarts" >&2
        exit 1
    fi
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
