#!/usr/bin/env bash
# The main job by eight rank processes, as started by a launcher: world sizes 2, 4 and 8, smaller worlds side by side,
# every operation. On fewer than eight GPUs several ranks take turns on each: times mean nothing then, but what the
# ranks agree on, and that each result is right before and after it is timed, is tested all the same.
# Arguments: the crossover binary. Needs 2 GPUs.
set -euo pipefail
crossover=$1
ranks=8
gpus=$("$crossover" doctor | awk '$1 == "GPUs" { print $2 }') || true # those visible to it; it fails where there are none
[[ $gpus =~ ^([0-9]+|none:)$ ]] || { echo "cannot tell the number of GPUs from: crossover doctor" && exit 1; }
if [[ $gpus == none: ]] || ((gpus < 2)); then
    echo "skipped: needs 2 GPUs"
    exit 77
fi
((gpus < ranks)) || gpus=$ranks

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/config.yaml" <<'YAML'
sweep:
  world_sizes: [2, 4, 8]
  patterns: [allreduce, allreduce_residual_rmsnorm, allreduce_residual_rmsnorm_sharded, moe_dispatch_zipf, moe_combine_zipf]
  dtypes: [bfloat16]
  quants: [none, fp4]
  hidden_dims: [4096]
  num_tokens: [1, 40, 256]
  max_message_bytes: 4194304
  algorithms: [nccl, nccl_fused_norm, nccl_sharded_norm, custom_fused_norm, oneshot, twoshot,
               nccl_allgather_quantize, nccl_allreduce_slice, push]
measurement: {sessions: 2, launches: default, warmup: 1, trials: 3, graph_calls: 2, scale_layout: linear, timeout_ms: 20000}
validation: {hidden_dims: [2048], num_tokens: [5]}
YAML

# NCCL refuses two ranks on one GPU of a host. So ranks that share one say that they are on different hosts, which it
# then connects through the loopback interface; our kernels' memory goes through cudaIpc.
pids=()
for ((rank = 0; rank < ranks; ++rank)); do
    sharing=()
    ((gpus == ranks)) || sharing=(NCCL_HOSTID=host$((rank / gpus)) NCCL_SOCKET_IFNAME=lo)
    env RANK=$rank WORLD_SIZE=$ranks LOCAL_RANK=$((rank % gpus)) LOCAL_WORLD_SIZE=$ranks \
        MASTER_ADDR=127.0.0.1 MASTER_PORT=$((20000 + $$ % 10000)) "${sharing[@]}" \
        timeout 300 "$crossover" tune --config "$folder/config.yaml" --out "$folder/out" \
        >"$folder/rank$rank.log" 2>&1 &
    pids+=($!)
done
failed=0
for ((rank = 0; rank < ranks; ++rank)); do
    wait "${pids[rank]}" || { echo "rank $rank: exit status $?" && failed=1; }
done
check() { # what, then a command that must succeed
    "${@:2}" && return
    echo "failed: $1"
    failed=1
}
column() { awk -F, -v name="$1" 'NR == 1 { for (i = 1; i <= NF; ++i) if ($i == name) at = i } NR > 1 { print $at }' \
    "$folder/out/samples.csv"; }
if ((failed == 0)); then
    check "every sample is ok" test "$(column status | sort -u)" = ok
    for world_size in 2 4 8; do
        check "world size $world_size is in the samples" grep -qx "$world_size" <(column world_size)
        check "world size $world_size is in the table" grep -q "world_size: $world_size\b" "$folder/out/table.yaml"
    done
    check "samples of all algorithms" test "$(column algorithm | sort -u | wc -l)" = 9
    check "the table can be held against the samples" "$crossover" evaluate --table "$folder/out/table.yaml" \
        --samples "$folder/out/samples.csv"
fi
((failed == 0)) || { tail -n 40 "$folder"/rank*.log && exit 1; }
echo "$(column status | wc -l) samples of $ranks ranks on $gpus GPUs"
