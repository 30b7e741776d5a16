#include "tuner/cli/commands.hpp"
#include "tuner/error.hpp"
#include "tuner/nearest.hpp"
#include "tuner/one_line.hpp"
#ifdef CROSSOVER_HAS_CUDA
#include "tuner/measure/gpu_tune.hpp"
#endif

#include <algorithm>
#include <array>
#include <exception>
#include <fcntl.h>
#include <iomanip>
#include <iostream>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace {

struct Subcommand {
    std::string_view name;
    std::string_view summary;
    int (*run)(const std::vector<std::string>& arguments);
};
constexpr std::string_view word_of(const Subcommand& subcommand) { return subcommand.name; }

constexpr std::array kSubcommands{
    Subcommand{"tune", "measure (or replay a recording), fit, and write table, header and report", crossover::run_tune},
    Subcommand{"bench", "time every algorithm at given shapes, on GPUs", crossover::run_bench},
    Subcommand{"fit", "make a table from samples", crossover::run_fit},
    Subcommand{"emit", "write a table for an engine: cpp, vllm, sglang, tensorrt-llm, yaml, json, markdown",
               crossover::run_emit},
    Subcommand{"ranges", "split a model's token counts where the table changes the algorithm", crossover::run_ranges},
    Subcommand{"import", "turn other benchmarks' result files into samples", crossover::run_import},
    Subcommand{"doctor", "say what this machine can measure, and why not", crossover::run_doctor},
    Subcommand{"compare", "compare two tables cell by cell; exit 1 on a regression", crossover::run_compare},
    Subcommand{"evaluate", "tell the time that tables and engines' own rules lose on samples", crossover::run_evaluate},
    Subcommand{"report", "draw a run's curves, crossovers and regret map as one HTML file", crossover::run_report},
};

void print_help() {
    std::cout << "Crossover finds the message sizes up to which a fused all-reduce + RMSNorm beats NCCL,\n"
                 "and writes the dispatch table that a serving engine ships.\n\n"
                 "Usage: crossover SUBCOMMAND [options]\n\n";
    for (const Subcommand& subcommand : kSubcommands)
        std::cout << "  " << std::left << std::setw(10) << subcommand.name << subcommand.summary << '\n';
    std::cout << "\n`crossover SUBCOMMAND --help` lists its options; `crossover --version` prints the version.\n"
                 "Exit status: 0 good; 1 the answer is \"no\" (a regression, a failed check); 2 unusable input.\n";
}

int run(const std::vector<std::string>& words) {
    using crossover::InputError;
    if (words.empty()) throw InputError("command line", "no subcommand", "see `crossover --help`");
    const std::string& name = words.front();
    if (name == "help" && words.size() == 2) return run({words[1], "--help"});
    if (name == "--help" || name == "-h" || name == "help") return print_help(), 0;
    if (name == "--version") {
        std::cout << "crossover " CROSSOVER_VERSION "\n";
        return 0;
    }
#ifdef CROSSOVER_HAS_CUDA
    if (name == "rank") return crossover::run_rank({words.begin() + 1, words.end()}); // a rank process of tune or bench
#endif
    const auto* found = std::find_if(kSubcommands.begin(), kSubcommands.end(),
                                     [&](const Subcommand& subcommand) { return subcommand.name == name; });
    if (found != kSubcommands.end()) return found->run({words.begin() + 1, words.end()});
    throw InputError("command line", "unknown subcommand `" + name + "`",
                     crossover::did_you_mean(name, kSubcommands, "see `crossover --help`"));
}

/// Errors are one line, whatever a library put into its message.
int report(const std::string& message) {
    std::cerr << "crossover: error: " << crossover::one_line(message) << std::endl;
    return 2;
}

/// A standard stream that was closed (`2>&-`) would give its number to the next file that is opened, the journal of
/// samples say, and what is said on it would end up there. Read-only: writing still fails, and stdout's is reported.
void occupy_standard_streams() {
    int descriptor = 0;
    while ((descriptor = ::open("/dev/null", O_RDONLY)) >= 0 && descriptor <= STDERR_FILENO) {
    }
    if (descriptor >= 0) ::close(descriptor);
}

} // namespace

int main(int argc, char** argv) {
    occupy_standard_streams();
    try {
        const int status = run({argv + std::min(argc, 1), argv + argc});
        if (!std::cout.flush()) // a full disk behind `>` must not look like a table
            throw crossover::InputError("standard output", "cannot be written", "free some space or name another file");
        return status;
    } catch (const std::exception& error) {
        return report(error.what());
    }
}
