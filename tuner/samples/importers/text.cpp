#include "tuner/samples/importers/text.hpp"

#include "tuner/error.hpp"
#include "tuner/parse_number.hpp"
#include "tuner/read_file.hpp"

#include <algorithm>
#include <cctype>

namespace crossover::importers {
namespace {

// Far beyond any machine and model, near enough to keep bytes in 64 bits.
constexpr std::int64_t kMaxWorldSize = 1024;
constexpr std::int64_t kMaxHiddenDim = 1 << 20;
constexpr std::int64_t kMaxNumTokens = 1 << 24;

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v'; }

std::vector<std::string> split_csv_line(std::string_view text, const Place& place) {
    std::vector<std::string> fields(1);
    bool quoted = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        std::string& field = fields.back();
        if (quoted && text[i] == '"' && i + 1 < text.size() && text[i + 1] == '"')
            field += text[++i];
        else if (text[i] == '"' && (quoted || field.empty()))
            quoted = !quoted;
        else if (text[i] == ',' && !quoted)
            fields.emplace_back();
        else
            field += text[i];
    }
    if (quoted) place.fail("a quote is not closed on its line", "the file may be cut off: write it again");
    for (std::string& field : fields) field = trim(field);
    return fields;
}

} // namespace

void Place::fail(const std::string& what, const std::string& remedy) const {
    throw InputError(line > 0 ? std::string(file) + ":" + std::to_string(line) : std::string(file), what, remedy);
}

std::int64_t Place::integer(std::string_view name, std::string_view text, std::int64_t least, std::int64_t most) const {
    std::int64_t value = 0;
    if (parse_number(text, value) != std::errc{} || value < least || value > most)
        fail(std::string(name) + " is " + shown(text),
             "expected an integer from " + std::to_string(least) + " to " + std::to_string(most));
    return value;
}

DType Place::dtype(std::string_view text) const {
    const std::string_view name = text.starts_with("torch.") ? text.substr(6) : text;
    if (const auto dtype = parse_dtype(name)) return *dtype;
    fail("dtype is " + shown(text), "expected bfloat16, float16 or float32");
}

int Place::world_size(std::string_view text) const {
    return static_cast<int>(integer("world size", text, 2, kMaxWorldSize));
}

std::int64_t Place::hidden_dim(std::string_view text) const { return integer("hidden size", text, 1, kMaxHiddenDim); }

std::int64_t Place::num_tokens(std::string_view text) const {
    return integer("number of tokens", text, 1, kMaxNumTokens);
}

Point Place::point(Pattern pattern, DType dtype, Quant quant, std::string_view world_size_text,
                   std::string_view hidden_dim_text, std::string_view num_tokens_text) const {
    return Point{
        .cell = {.pattern = pattern, .dtype = dtype, .quant = quant, .world_size = world_size(world_size_text)},
        .hidden_dim = hidden_dim(hidden_dim_text),
        .num_tokens = num_tokens(num_tokens_text)};
}

void Place::check_bytes(const Point& point, std::string_view bytes) const {
    const auto said = integer("size in bytes", bytes, 1, std::int64_t{1} << 62);
    if (static_cast<std::uint64_t>(said) != message_bytes(point))
        fail("size says " + std::string(bytes) + " bytes, but " + to_string(point) + " has " +
                 std::to_string(message_bytes(point)),
             "correct the row or take it out");
}

std::string_view plain_text(std::string_view text, std::string_view file) {
    const Place place{file};
    if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF"))
        place.fail("is UTF-16 text", "save it as UTF-8 (PowerShell's `>` writes UTF-16)");
    text.remove_prefix(byte_order_mark_size(text));
    if (text.find('\0') != std::string_view::npos) place.fail("is a binary file", "give the benchmark's result file");
    if (std::all_of(text.begin(), text.end(), [](char c) { return is_blank(c) || c == '\n'; }))
        place.fail("is empty", "give the benchmark's result file");
    return text;
}

std::vector<Line> split_lines(std::string_view text) {
    std::vector<Line> lines;
    int number = 0;
    for (const std::string_view line : split(text, '\n')) {
        ++number;
        if (const std::string_view trimmed = trim(line); !trimmed.empty()) lines.push_back({number, trimmed});
    }
    return lines;
}

std::vector<CsvRow> split_csv(std::string_view text, std::string_view file) {
    std::vector<CsvRow> rows;
    for (const Line& line : split_lines(text))
        rows.push_back({line.number, split_csv_line(line.text, Place{file, line.number})});
    return rows;
}

std::string_view trim(std::string_view text) {
    while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
    return text;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    for (;;) {
        const std::size_t end = text.find(separator);
        parts.push_back(text.substr(0, end));
        if (end == std::string_view::npos) return parts;
        text.remove_prefix(end + 1);
    }
}

bool equal_words(std::span<const std::string> row, std::span<const std::string_view> names) {
    return std::equal(row.begin(), row.end(), names.begin(), names.end());
}

std::string shown(std::string_view text) {
    std::string printable;
    for (const char c : text.substr(0, 60)) printable += std::isprint(static_cast<unsigned char>(c)) ? c : '?';
    if (text.size() > 60) printable += "…";
    return "`" + printable + "`";
}

std::string lower(std::string_view text) {
    std::string result(text);
    for (char& c : result)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return result;
}

std::string algorithm_name(std::string_view text, const Place& place) {
    std::string name;
    for (const char c : lower(text)) {
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            name += c;
        else if (!name.empty() && name.back() != '_')
            name += '_';
    }
    while (name.ends_with('_')) name.pop_back();
    constexpr std::size_t kLongest = 100;
    const bool has_letter = std::any_of(name.begin(), name.end(), [](char c) { return c >= 'a' && c <= 'z'; });
    if (!has_letter || name.size() > kLongest || name == algorithm::not_measured)
        place.fail(shown(text) + " is no name for an algorithm", "correct the row or take it out");
    return name;
}

} // namespace crossover::importers
