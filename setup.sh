#!/usr/bin/env bash
# Installs what Crossover builds and tests with on Debian 12+ and Ubuntu 24.04+, and says what a GPU build still lacks.
# Safe to run again: it asks for root only when something is missing.
#
#   ./setup.sh        build and test
#   ./setup.sh --ci   also the formatter, the linter and the fuzzer's runtime, in the version CI checks with
set -euo pipefail

usage() { sed -n '2,6s/^# \{0,1\}//p' "$0"; }

packages=(
    g++ clang cmake ninja-build git                  # clang: the emitted header is compiled by both
    libboost-program-options-dev libyaml-cpp-dev libeigen3-dev doctest-dev
    python3 python3-yaml python3-jsonschema          # tests run the emitted Python and check the JSON schema
)
case "${1-}" in
"") ;;
--ci) packages+=(clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev) ;;
-h | --help) usage && exit 0 ;;
*) echo "setup.sh: unknown argument \`$1\`; see ./setup.sh --help" >&2 && exit 2 ;;
esac

if ! command -v apt-get >/dev/null; then
    echo "setup.sh: this is neither Debian nor Ubuntu; install what these packages hold: ${packages[*]}" >&2
    exit 2
fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
done
if ((${#missing[@]})); then
    as_root=()
    if ((EUID != 0)); then
        if ! command -v sudo >/dev/null; then
            echo "setup.sh: not root and no sudo; have an administrator install: ${missing[*]}" >&2
            exit 2
        fi
        as_root=(sudo)
    fi
    echo "setup.sh: installing ${missing[*]}"
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

# What apt cannot promise: an older release's cmake, another python3 in front of the system's.
cmake_version=$(cmake --version | sed -n '1s/[^0-9]*//p')
if ! dpkg --compare-versions "$cmake_version" ge 3.25; then
    echo "setup.sh: CMake $cmake_version is too old; install 3.25 or newer, for example with: pip install cmake" >&2
    exit 2
fi
if ! python3 -c 'import yaml, jsonschema' 2>/dev/null; then
    echo "setup.sh: $(command -v python3) lacks yaml or jsonschema; run: python3 -m pip install pyyaml jsonschema" >&2
    exit 2
fi

# The GPU half is optional: without it Crossover replays recordings and does all that comes after measuring.
first_of() { # the first of these paths that exists
    local path
    for path in "$@"; do
        [[ -e $path ]] && echo "$path" && return
    done
    return 1
}
gpu_lacks=()
nvcc=$(command -v nvcc || first_of /usr/local/cuda/bin/nvcc) ||
    gpu_lacks+=("nvcc (the CUDA Toolkit, 12.8 or newer: package cuda-toolkit from NVIDIA's repository)")
nccl=$(first_of ${NCCL_HOME:+"$NCCL_HOME/include/nccl.h"} /usr/local/cuda/include/nccl.h /usr/include/nccl.h \
    /usr/local/include/nccl.h) ||
    gpu_lacks+=("nccl.h and libnccl (NCCL 2.27 or newer: package libnccl-dev from NVIDIA's repository)")
if ((${#gpu_lacks[@]})); then
    echo "setup.sh: Crossover will be built WITHOUT the GPU half. For it, install:"
    printf '  - %s\n' "${gpu_lacks[@]}"
else
    echo "setup.sh: GPU half: $nvcc, $nccl"
fi
if gpus=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null); then
    echo "setup.sh: GPUs here: $(sort <<<"$gpus" | uniq -c | sed 's/^ *//' | paste -sd, -)"
else
    echo "setup.sh: no GPU here: \`tune\` replays a recording, and the GPU tests are skipped"
fi
