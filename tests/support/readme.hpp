#pragma once
/// README's sentences with numbers that a test comes to.

#include "tests/support/command.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

namespace crossover::test {

/// Fails if README does not have these words, wherever its lines end.
inline void check_readme_says(const std::string& words) {
    std::string readme = read_text(CROSSOVER_SOURCE_DIR "/README.md");
    std::ranges::replace(readme, '\n', ' ');
    CHECK_MESSAGE(readme.find(words) != std::string::npos, "README.md lacks: " << words);
}

} // namespace crossover::test
