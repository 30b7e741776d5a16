#include "comm/nccl_check.hpp"

namespace crossover {
namespace {

std::string describe(ncclResult_t code, const char* call, const char* file, int line) {
    std::string text = std::string(call) + ": " + ncclGetErrorString(code) + " (" + nccl_code_name(code) + ")";
    // The communicator argument is unused by NCCL; the text is of the last error in this process.
    if (const char* last = ncclGetLastError(nullptr); last && *last) text += ", " + std::string(last);
    return text + " at " + file + ":" + std::to_string(line);
}

} // namespace

const char* nccl_code_name(ncclResult_t code) noexcept {
    switch (code) {
    case ncclSuccess:
        return "ncclSuccess";
    case ncclUnhandledCudaError:
        return "ncclUnhandledCudaError";
    case ncclSystemError:
        return "ncclSystemError";
    case ncclInternalError:
        return "ncclInternalError";
    case ncclInvalidArgument:
        return "ncclInvalidArgument";
    case ncclInvalidUsage:
        return "ncclInvalidUsage";
    case ncclRemoteError:
        return "ncclRemoteError";
    case ncclInProgress:
        return "ncclInProgress";
    default:
        return "unknown NCCL error";
    }
}

NcclError::NcclError(ncclResult_t code, const char* call, const char* file, int line)
    : std::runtime_error(describe(code, call, file, line)), code_(code) {}

void detail::warn(ncclResult_t code, const char* call, const char* file, int line) noexcept {
    if (code == ncclSuccess) return;
    std::fprintf(stderr, "crossover: warning: %s: %s (%s) at %s:%d\n", call, ncclGetErrorString(code),
                 nccl_code_name(code), file, line);
}

} // namespace crossover
