#!/bin/bash
# sbatch slurm-array.sh, and when it is done: vmm junit merge report.xml report-*.xml
# What `vmm run --on slurm` does by itself, to change at will. The nodes see this directory and vmm under the same paths, and this user may
# open /dev/kvm there (group kvm).
#SBATCH --job-name=vm-tests
#SBATCH --array=1-8
#SBATCH --cpus-per-task=2
#SBATCH --mem=2G
#SBATCH --output=vm-tests.%a.log
set -u
vmm run --kernel debian --each 'tests/*.sh' --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --timeout 5m \
    --junit "report-$SLURM_ARRAY_TASK_ID.xml" -- sh {}
