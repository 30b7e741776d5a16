// The C++ header and an emitted table in one file, as far as that goes without a GPU. gpu.c_api_test goes further.
#include <crossover/crossover_kernels.hpp>

#include "oneshot_thresholds.h"

#include <cstdio>
#include <string>

extern "C" size_t bytes_in_c(int world_size);

namespace {

int failures = 0;

void expect(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "does not hold: %s\n", what);
    ++failures;
}

struct Row { // as crossover::LaunchParameters, which this table has no rows of
    int cluster_size, clusters, threads, push_ahead, consume_behind;
};

} // namespace

int main() {
    namespace kernels = crossover::kernels;
    expect(crossover::select(2, 4096) == crossover::Algorithm::oneshot, "the table has oneshot for 4 KiB");
    expect(bytes_in_c(2) > 1 << 20, "a workspace is larger than its largest message");
    const crossover_launch launch = kernels::launch_of(Row{8, 66, 128, 1, 2});
    expect(launch.cluster_size == 8 && launch.clusters == 66 && launch.threads == 128 && launch.push_ahead == 1 &&
               launch.consume_behind == 2 && launch.pdl != 0,
           "a launch is that of the row");
    try {
        const kernels::Workspace workspace(2, {nullptr, nullptr}, 1 << 20);
        expect(false, "rank 2 of 2 is refused");
    } catch (const kernels::Error& error) {
        expect(error.status() == CROSSOVER_INVALID, "as an argument that makes no sense");
        expect(error.what() == std::string("rank 2 is not below world_size"), "and said");
    }
    return failures == 0 ? 0 : 1;
}
