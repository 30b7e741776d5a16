#include "output/format.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

namespace crossover {
namespace {

std::string escaped(const std::string& cell) {
    std::string out;
    for (const char c : cell) {
        if (c == '|') out += '\\';
        out += c == '\n' || c == '\r' ? ' ' : c;
    }
    return out;
}

/// Code points: what a terminal shows of "≥" or "µ" is one column wide.
std::size_t width(const std::string& text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

} // namespace

std::string human_bytes(std::uint64_t bytes) {
    constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    std::size_t unit = 0;
    auto value = static_cast<double>(bytes);
    for (; value >= 1023.5 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
    std::array<char, 32> text;
    std::snprintf(text.data(), text.size(), "%.*f", value < 10 ? 2 : value < 100 ? 1 : 0, value);
    double shown = std::stod(text.data());
    std::string digits = text.data();
    if (digits.find('.') != std::string::npos) {
        digits.erase(digits.find_last_not_of('0') + 1);
        if (digits.back() == '.') digits.pop_back();
    }
    return (shown == value ? "" : "~") + digits + " " + kUnits[unit];
}

std::string percent(double fraction, int decimals) {
    std::array<char, 64> text;
    std::snprintf(text.data(), text.size(), "%+.*f %%", decimals, fraction * 100);
    return text.data();
}

std::string one_line(std::string text) {
    for (char& c : text)
        if (static_cast<unsigned char>(c) < 0x20 || c == '\\') c = ' ';
    return text;
}

std::string machine_text(const Fingerprint& machine) {
    return one_line(machine.sku + ", compute capability " + machine.compute_capability + ", " + machine.topology +
                    ", multicast " + (machine.multicast ? "on" : "off") + ", nodes " + std::to_string(machine.nodes));
}

std::string origin_text(const Table& table) {
    const Provenance& from = table.provenance;
    std::string text = "source " + table.source;
    const auto add = [&text](const char* name, const std::string& value) {
        if (!value.empty()) text.append(", ").append(name).append(" ").append(value);
    };
    add("Crossover", table.crossover_version);
    add("driver", from.driver);
    add("CUDA", from.cuda);
    add("NCCL", from.nccl);
    add("date", from.date);
    add("sessions", std::to_string(from.sessions));
    add("samples", std::to_string(from.samples));
    return one_line(text);
}

std::string markdown_table(const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths(rows.front().size(), 3);
    for (const auto& row : rows)
        for (std::size_t column = 0; column < row.size(); ++column)
            widths[column] = std::max(widths[column], width(escaped(row[column])));

    std::string out;
    for (std::size_t index = 0; index < rows.size(); ++index) {
        out += "|";
        for (std::size_t column = 0; column < rows[index].size(); ++column) {
            const std::string cell = escaped(rows[index][column]);
            out += " " + cell + std::string(widths[column] - width(cell), ' ') + " |";
        }
        out += "\n";
        if (index > 0) continue;
        out += "|";
        for (const std::size_t column : widths) out += std::string(column + 2, '-') + "|";
        out += "\n";
    }
    return out;
}

} // namespace crossover
