#pragma once
/// What the sources of the C API share.

#include "comm/symmetric_buffer.hpp"
#include "kernels/crossover_kernels.h"
#include "kernels/fused_allreduce.hpp"
#include "tuner/error.hpp"

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>

struct crossover_workspace {
    // Of a workspace made from an ncclComm_t; the buffer goes first.
    std::optional<crossover::Communicator> communicator;
    std::optional<crossover::SymmetricBuffer> buffer;
    crossover::Workspace workspace;
    int multiprocessors = 0;
    int compute_capability_major = 0;
};

namespace crossover::c_api {

inline thread_local std::string last_error;

inline crossover_status failure(crossover_status status, const std::string& what) {
    last_error = what;
    return status;
}

/// Runs `call`, which returns a status, and turns what it throws into one.
template <class Call>
crossover_status guarded(Call&& call) {
    try {
        return call();
    } catch (const std::invalid_argument& error) {
        return failure(CROSSOVER_INVALID, error.what());
    } catch (const InputError& error) {
        return failure(CROSSOVER_INVALID, error.what());
    } catch (const std::exception& error) {
        return failure(CROSSOVER_FAILED, error.what());
    }
}

/// The value of a C enum as the C++ one of the same order. @throws std::invalid_argument
template <class To, std::size_t Count, class From>
To converted(From value, const char* what) {
    const auto number = static_cast<std::size_t>(value);
    if (number >= Count) throw std::invalid_argument(std::string(what) + " " + std::to_string(number) + " is unknown");
    return static_cast<To>(number);
}
inline DType dtype_of(crossover_dtype dtype) { return converted<DType, kDTypes.size()>(dtype, "dtype"); }
inline Quant quant_of(crossover_quant quant) { return converted<Quant, kQuants.size()>(quant, "quant"); }
inline ScaleLayout scale_layout_of(crossover_scale_layout layout) {
    return converted<ScaleLayout, 2>(layout, "scale_layout");
}
static_assert(static_cast<int>(DType::float32) == CROSSOVER_FLOAT32 && kDTypes.size() == 3);
static_assert(static_cast<int>(Quant::fp4) == CROSSOVER_QUANT_FP4 && kQuants.size() == 3);
static_assert(static_cast<int>(ScaleLayout::linear) == CROSSOVER_SCALES_LINEAR);

inline void require(const void* pointer, const char* what) {
    if (!pointer) throw std::invalid_argument(std::string(what) + " is null");
}

} // namespace crossover::c_api
