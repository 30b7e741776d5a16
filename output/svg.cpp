#include "output/svg.hpp"

#include "output/format.hpp"

#include <array>
#include <cmath>

namespace crossover::svg {
namespace {

/// Length of the UTF-8 sequence at the beginning of `text` if it is one that XML may hold, else 0.
std::size_t sequence_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(0);
    const std::size_t length = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (length == 1) return first >= 0x20 && first != 0x7f ? 1 : 0;
    if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0; // 0x80…0xc1: inside a sequence, or overlong
    std::uint32_t code = first & (0xff >> (length + 1));
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0) != 0x80) return 0;
        code = code << 6 | (byte(i) & 0x3f);
    }
    constexpr std::array<std::uint32_t, 5> kLeast{0, 0, 0xa0, 0x800, 0x10000}; // 0x80…0x9f: control characters
    const bool surrogate = code >= 0xd800 && code <= 0xdfff;
    const bool noncharacter = (code & 0xfffe) == 0xfffe;
    return code < kLeast[length] || code > 0x10ffff || surrogate || noncharacter ? 0 : length;
}

std::string attribute(std::string_view name, std::string_view value) {
    return " " + std::string(name) + "=\"" + std::string(value) + "\"";
}
std::string attribute(std::string_view name, double value) { return attribute(name, fixed(value)); }

/// <name attributes/>, or with the tooltip inside.
std::string element(const std::string& name, const std::string& attributes, std::string_view title) {
    if (title.empty()) return "<" + name + attributes + "/>";
    return "<" + name + attributes + "><title>" + escaped(title) + "</title></" + name + ">";
}

} // namespace

std::string escaped(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const std::size_t length = sequence_length(text);
        switch (text.front()) {
        case '&':
            out += "&amp;";
            break;
        case '<':
            out += "&lt;";
            break;
        case '>':
            out += "&gt;";
            break;
        case '"':
            out += "&quot;";
            break;
        case '\'':
            out += "&#39;";
            break;
        case '\n':
        case '\r':
        case '\t':
            out += ' ';
            break;
        default:
            length == 0 ? out += "\xef\xbf\xbd" : out.append(text.substr(0, length));
        }
        text.remove_prefix(length == 0 ? 1 : length);
    }
    return out;
}

std::vector<int> powers_of_two(const Axis& log2, double room) {
    const double octave = std::abs(log2(1) - log2(0));
    const int step = std::max(1, static_cast<int>(std::ceil(room / octave)));
    std::vector<int> exponents;
    for (int exponent = static_cast<int>(std::ceil(std::max(0.0, log2.low))); exponent <= log2.high; ++exponent)
        if (exponent % step == 0 && exponent < 64) exponents.push_back(exponent);
    return exponents;
}

std::vector<Tick> time_ticks(const Axis& ln_us) {
    constexpr double kRoom = 14; // px; a line of text takes 12
    const double ln_unit = std::abs(ln_us(1) - ln_us(0));
    const std::vector<int> digits = std::log(10.0 / 9) * ln_unit >= kRoom ? std::vector{1, 2, 3, 4, 5, 6, 7, 8, 9}
                                    : std::log(2) * ln_unit >= kRoom      ? std::vector{1, 2, 5}
                                                                          : std::vector{1};
    std::vector<Tick> ticks;
    for (int decade = -3; decade <= 9; ++decade)
        for (const int digit : digits) {
            const double us = digit * std::pow(10, decade);
            if (ln_us.holds(std::log(us))) ticks.push_back({std::log(us), fixed(us, std::max(0, -decade))});
        }
    return ticks;
}

std::string line(Vertex from, Vertex to, std::string_view style) {
    return element("line",
                   attribute("class", style) + attribute("x1", from.x) + attribute("y1", from.y) +
                       attribute("x2", to.x) + attribute("y2", to.y),
                   {});
}

std::string rect(Vertex corner, double width, double height, std::string_view style, std::string_view title) {
    return element("rect",
                   attribute("class", style) + attribute("x", corner.x) + attribute("y", corner.y) +
                       attribute("width", width) + attribute("height", height),
                   title);
}

std::string polyline(std::span<const Vertex> vertices, std::string_view style, std::string_view title) {
    std::string path;
    for (const Vertex& vertex : vertices)
        path.append(path.empty() ? "M" : " ").append(fixed(vertex.x)).append(",").append(fixed(vertex.y));
    return element("path", attribute("class", style) + attribute("d", path), title);
}

std::string dots(std::span<const Vertex> vertices, std::string_view style) {
    std::string path;
    for (const Vertex& vertex : vertices)
        path.append("M").append(fixed(vertex.x)).append(",").append(fixed(vertex.y)).append("h0");
    return element("path", attribute("class", style) + attribute("d", path), {});
}

std::string text(Vertex at, std::string_view anchor, std::string_view style, std::string_view content) {
    return "<text" + attribute("class", style) + attribute("x", at.x) + attribute("y", at.y) +
           attribute("text-anchor", anchor) + ">" + escaped(content) + "</text>";
}

} // namespace crossover::svg
