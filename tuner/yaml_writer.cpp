#include "tuner/yaml_writer.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

namespace crossover {
namespace {

constexpr const char* kTextTag = "!"; // yaml-cpp's own tag of a quoted scalar

template <class T, class... Format>
YAML::Node plain(T value, Format... format) {
    std::array<char, 512> digits; // the longest double in fixed notation has 327 characters
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value, format...).ptr;
    return YAML::Node(std::string(digits.data(), end));
}

bool is_plain_safe(const std::string& text) {
    constexpr std::array<std::string_view, 8> kWords{"true", "false", "yes", "no", "on", "off", "null", "y"};
    if (text.size() < 2 || !std::isalpha(static_cast<unsigned char>(text.front())) || text.back() == ' ') return false;
    for (const char c : text)
        if (!std::isalnum(static_cast<unsigned char>(c)) && std::string_view("_-./ ").find(c) == std::string_view::npos)
            return false;
    std::string lower = text;
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
    return std::find(kWords.begin(), kWords.end(), lower) == kWords.end();
}

void write(YAML::Emitter& out, const YAML::Node& node) {
    const bool flow = node.Style() == YAML::EmitterStyle::Flow;
    switch (node.Type()) {
    case YAML::NodeType::Map:
        if (flow || node.size() == 0) out << YAML::Flow;
        out << YAML::BeginMap;
        for (const auto& entry : node) {
            out << YAML::Key;
            write(out, entry.first);
            out << YAML::Value;
            write(out, entry.second);
        }
        out << YAML::EndMap;
        break;
    case YAML::NodeType::Sequence:
        if (flow || node.size() == 0) out << YAML::Flow;
        out << YAML::BeginSeq;
        for (const auto& entry : node) write(out, entry);
        out << YAML::EndSeq;
        break;
    case YAML::NodeType::Scalar:
        if (is_text(node) && !is_plain_safe(node.Scalar())) out << YAML::DoubleQuoted;
        out << node.Scalar();
        break;
    case YAML::NodeType::Null:
    case YAML::NodeType::Undefined:
        out << YAML::Null;
        break;
    }
}

} // namespace

YAML::Node text_node(std::string_view text) {
    YAML::Node node{std::string(text)};
    node.SetTag(kTextTag);
    return node;
}
YAML::Node number_node(std::int64_t value) { return plain(value); }
YAML::Node number_node(std::uint64_t value) { return plain(value); }
YAML::Node number_node(double value) { return plain(value, std::chars_format::fixed); }
YAML::Node bool_node(bool value) { return YAML::Node(std::string(value ? "true" : "false")); }

bool is_text(const YAML::Node& scalar) { return scalar.Tag() == kTextTag; }

std::string write_yaml(const YAML::Node& document) {
    YAML::Emitter out;
    out.SetNullFormat(YAML::LowerNull);
    write(out, document);
    return std::string(out.c_str(), out.size()) + "\n";
}

} // namespace crossover
