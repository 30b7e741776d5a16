#pragma once
/// What the candidates that go through NCCL share.

#include "kernels/types.hpp"

#include <nccl.h>

namespace crossover {

/// Every kernel of ours is chained to its predecessor (programmatic dependent launch).
inline constexpr bool kPdl = true;

constexpr ncclDataType_t nccl_type(DType dtype) {
    return dtype == DType::bfloat16 ? ncclBfloat16 : dtype == DType::float16 ? ncclFloat16 : ncclFloat32;
}

} // namespace crossover
