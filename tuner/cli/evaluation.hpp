#pragma once
/// Tables and engines' own rules by file, and what they lose on samples.

#include "tuner/fit/regret.hpp"

#include <cstdint>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace crossover {

/// One table, or engine's rule, and what it loses.
struct Evaluation {
    std::string name;
    std::string source; // the file
    RegretReport report;
    std::vector<std::string> remarks;
};

/// "1 point", "2 points"
std::string count(std::int64_t number, const std::string& noun);

/// @param skus  of the samples
/// @throws InputError if `path` is neither a table nor an engine's rule
Evaluation evaluate(const std::filesystem::path& path, std::span<const Sample> samples,
                    const std::set<std::string>& skus);

/// The files that `names` stand for: a folder for its table.yaml, or else for all the .yaml in it. @throws InputError
/// for a folder without any
std::vector<std::filesystem::path> table_files(const std::vector<std::string>& names);

} // namespace crossover
