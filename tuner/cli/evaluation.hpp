#pragma once
/// Tables and engines' own rules by file, and what they lose on samples.

#include "tuner/fit/incumbent.hpp"
#include "tuner/fit/regret.hpp"

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace crossover {

/// A table or an engine's rule.
struct Contender {
    std::string source; // the file
    std::variant<Table, Incumbent> what;
};

/// @throws InputError if `path` is neither a table nor an engine's rule
Contender read_contender(const std::filesystem::path& path);

/// What a contender loses.
struct Evaluation {
    std::string name;
    std::string source; // the file
    RegretReport report;
    std::vector<std::string> remarks;
};

/// "1 point", "2 points"
std::string count(std::int64_t number, const std::string& noun);

Evaluation evaluate(const Contender& contender, std::span<const Sample> samples);

/// The files that `names` stand for: a folder for its table.yaml, or else for all the .yaml in it. @throws InputError
/// for a folder without any
std::vector<std::filesystem::path> table_files(const std::vector<std::string>& names);

} // namespace crossover
