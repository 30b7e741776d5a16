/// example_engine GPU WORLD_SIZE HIDDEN_DIM QUANT(0|1|2) WORKSPACE_BUDGET: prints the workspace, then a line per number
/// of tokens on standard input with the kernel and whether that was measured.

#include "engine.hpp"

#include <cstdlib>
#include <iostream>

int main(int argc, char** argv) {
    if (argc != 6) return 2;
    const example_engine::Model model{std::atoi(argv[2]), std::atoll(argv[3]), crossover::DType::bfloat16,
                                      static_cast<crossover::Quant>(std::atoi(argv[4]))};
    const example_engine::AllReduceNorm all_reduce_norm(argv[1], model, std::strtoull(argv[5], nullptr, 10));

    std::cout << all_reduce_norm.workspace_bytes() << '\n';
    for (std::int64_t num_tokens = 0; std::cin >> num_tokens;) {
        const char* const names[] = {"unfused", "oneshot", "twoshot"};
        std::cout << num_tokens << ' ' << names[static_cast<int>(all_reduce_norm.choose(num_tokens))] << ' '
                  << all_reduce_norm.is_measured(num_tokens) << '\n';
    }
}
