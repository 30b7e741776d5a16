#pragma once
/// NCCL calls that fail throw, with the call's text and place. Apart from cuda_check.hpp because kernels need no NCCL.

#include <nccl.h>

#include <cstdio>
#include <stdexcept>
#include <string>

namespace crossover {

/// "ncclRemoteError" for ncclRemoteError, …
const char* nccl_code_name(ncclResult_t code) noexcept;

/// An NCCL call failed. what() has the call, the code, NCCL's own last error message and the place.
class NcclError : public std::runtime_error {
  public:
    NcclError(ncclResult_t code, const char* call, const char* file, int line);
    ncclResult_t code() const noexcept { return code_; }

  private:
    ncclResult_t code_;
};

namespace detail {
inline void check(ncclResult_t code, const char* call, const char* file, int line) {
    if (code != ncclSuccess) throw NcclError(code, call, file, line);
}
void warn(ncclResult_t code, const char* call, const char* file, int line) noexcept;
} // namespace detail

} // namespace crossover

/// @throws NcclError
#define CROSSOVER_NCCL_CHECK(call) ::crossover::detail::check((call), #call, __FILE__, __LINE__)
/// For destructors: a failure is a line on stderr.
#define CROSSOVER_NCCL_WARN(call) ::crossover::detail::warn((call), #call, __FILE__, __LINE__)
