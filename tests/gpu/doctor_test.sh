#!/usr/bin/env bash
# What `crossover doctor` says of one visible GPU: too few alone, enough for a rank that a launcher started.
# Arguments: the crossover binary. Needs 1 GPU.
set -euo pipefail
crossover=$1
gpus=$("$crossover" doctor | awk '$1 == "GPUs" { print $2 }') || true # it fails where there are too few
[[ $gpus =~ ^([0-9]+|none:)$ ]] || { echo "cannot tell the number of GPUs from: crossover doctor" && exit 1; }
[[ $gpus != none: ]] || { echo "skipped: needs 1 GPU" && exit 77; }
export CUDA_VISIBLE_DEVICES=0
failed=0
check() { # exit status, what it says, variables
    local output status=0
    output=$(env "${@:3}" "$crossover" doctor) || status=$?
    ((status == $1)) && grep -q "$2" <<<"$output" && return
    printf 'failed: expected exit status %d and "%s"; exit status %d and\n%s\n' "$1" "$2" "$status" "$output"
    failed=1
}
launched=(RANK=0 LOCAL_RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500)
check 1 "^- one GPU is visible; an all-reduce needs 2" X=
check 0 "^world sizes *2, 4$" "${launched[@]}" WORLD_SIZE=4
check 1 "^- the launcher started one rank; an all-reduce needs 2" "${launched[@]}" WORLD_SIZE=1
check 0 "^NCCL windows  *off by NCCL_WIN_ENABLE=0" "${launched[@]}" WORLD_SIZE=4 NCCL_WIN_ENABLE=0
exit $failed
