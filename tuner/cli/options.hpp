#pragma once
/// How every subcommand reads its command line.

#include <boost/program_options.hpp>

#include <optional>
#include <string>
#include <vector>

namespace crossover {

namespace po = boost::program_options;

/// What `crossover NAME --help` says above the options.
struct Usage {
    std::string name;           // "tune"
    std::string arguments = {}; // after the options, e.g. "OLD NEW"; empty if there are none
    std::string purpose;        // a few lines of prose
};

/// Parses a subcommand's arguments; `--help` and `-h` are added. Nothing is returned when help was asked for and
/// printed.
/// @param positional names of options that arguments without a `--name` fill; by default there are none
/// @throws InputError for an unknown or repeated option (naming the nearest), a missing, empty or malformed value, an
/// argument that belongs to no option
std::optional<po::variables_map> parse_options(const Usage& usage, const po::options_description& options,
                                               const std::vector<std::string>& arguments,
                                               const po::positional_options_description& positional = {});

} // namespace crossover
