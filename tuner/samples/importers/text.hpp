#pragma once
/// What the importers share in reading text: lines with numbers, numbers with errors, CSV.

#include "tuner/workload.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace crossover::importers {

/// A line of a file, for errors.
struct Place {
    std::string_view file;
    int line = 0; // from 1; 0 = the file as a whole

    /// @throws InputError "file:line: what; remedy"
    [[noreturn]] void fail(const std::string& what, const std::string& remedy) const;
    /// @throws InputError unless text is an integer in least…most, and nothing else
    std::int64_t integer(std::string_view name, std::string_view text, std::int64_t least, std::int64_t most) const;
    /// "bfloat16" or "torch.bfloat16". @throws InputError
    DType dtype(std::string_view text) const;
    /// Of a shape. @throws InputError for a text that is no number or out of range
    int world_size(std::string_view text) const;
    std::int64_t hidden_dim(std::string_view text) const;
    std::int64_t num_tokens(std::string_view text) const;
    /// All three, where they stand on one line.
    Point point(Pattern pattern, DType dtype, Quant quant, std::string_view world_size_text,
                std::string_view hidden_dim_text, std::string_view num_tokens_text) const;
    /// @throws InputError unless `bytes` is message_bytes(point)
    void check_bytes(const Point& point, std::string_view bytes) const;
};

/// The text without a UTF-8 byte order mark. @throws InputError for UTF-16, binary or empty files
std::string_view plain_text(std::string_view text, std::string_view file);

struct Line {
    int number = 0;
    std::string_view text; // without line end (\n or \r\n) and without blanks around
};
/// Lines that are not blank.
std::vector<Line> split_lines(std::string_view text);

struct CsvRow {
    int line = 0;
    std::vector<std::string> fields;
};
/// Rows of a CSV file, blank lines left out; "quoted, fields" as in RFC 4180, but within a line.
/// @throws InputError for a quote that is not closed
std::vector<CsvRow> split_csv(std::string_view text, std::string_view file);

std::string_view trim(std::string_view text);
std::vector<std::string_view> split(std::string_view text, char separator);
bool equal_words(std::span<const std::string> row, std::span<const std::string_view> names);
std::string lower(std::string_view text);

/// At most 60 printable characters of what was found, in backticks: for an error or a note of one line.
std::string shown(std::string_view text);

/// "Standard Allreduce  Custom Rms Norm" → "standard_allreduce_custom_rms_norm": an algorithm's name.
/// @throws InputError for a name without a letter, or one that means something else in a table
std::string algorithm_name(std::string_view text, const Place& place);

} // namespace crossover::importers
