#pragma once

#include "tuner/one_line.hpp"

#include <stdexcept>
#include <string>

namespace crossover {

/// Input that cannot be used: a config, samples file, table, option or environment. `main` prints it as one
/// line, `crossover: error: WHERE: WHAT; REMEDY`, and exits with 2.
class InputError : public std::runtime_error {
  public:
    /// Control characters, which files hand on in what they hold, become `?`, so that it stays one line.
    /// @param where  "file:line", "file", "--option" or "environment"
    /// @param what   what is wrong, naming the value that was found
    /// @param remedy what to do about it, in the imperative
    InputError(const std::string& where, const std::string& what, const std::string& remedy)
        : std::runtime_error(one_line(where + ": " + what + "; " + remedy, '?')) {}
};

} // namespace crossover
