#include "output/json.hpp"
#include "output/document.hpp"
#include "output/emit.hpp"
#include "tuner/yaml_writer.hpp"

namespace crossover {
namespace {

constexpr std::size_t kIndent = 2;

void write(std::string& out, const YAML::Node& node, std::size_t depth);

/// The entries of a map or list between brackets: each on a line of its own, or all on one in flow style.
template <class WriteEntry>
void write_entries(std::string& out, const YAML::Node& node, const char* brackets, std::size_t depth,
                   WriteEntry write_entry) {
    const bool flow = node.Style() == YAML::EmitterStyle::Flow || node.size() == 0;
    const auto new_line = [&](std::size_t level) {
        if (!flow) out.append("\n").append(level * kIndent, ' ');
    };
    out += brackets[0];
    bool first = true;
    for (auto entry = node.begin(); entry != node.end(); ++entry) {
        if (!first) out += flow ? ", " : ",";
        first = false;
        new_line(depth + 1);
        write_entry(*entry);
    }
    new_line(depth);
    out += brackets[1];
}

void write(std::string& out, const YAML::Node& node, std::size_t depth) {
    switch (node.Type()) {
    case YAML::NodeType::Map:
        write_entries(out, node, "{}", depth, [&](const auto& entry) {
            out += json_quoted(entry.first.Scalar()) + ": ";
            write(out, entry.second, depth + 1);
        });
        break;
    case YAML::NodeType::Sequence:
        write_entries(out, node, "[]", depth, [&](const auto& entry) { write(out, entry, depth + 1); });
        break;
    case YAML::NodeType::Scalar:
        out += is_text(node) ? json_quoted(node.Scalar()) : node.Scalar();
        break;
    case YAML::NodeType::Null:
    case YAML::NodeType::Undefined:
        out += "null";
        break;
    }
}

} // namespace

std::string json_quoted(std::string_view text) {
    constexpr char kHex[] = "0123456789abcdef";
    std::string out = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\')
            out.append({'\\', c});
        else if (c == '\n')
            out += "\\n";
        else if (byte < 0x20 || byte == 0x7f)
            out.append("\\u00").append({kHex[byte >> 4], kHex[byte & 15]});
        else
            out += c;
    }
    return out + "\"";
}

std::string write_json(const YAML::Node& document) {
    std::string out;
    write(out, document, 0);
    return out + "\n";
}

std::string emit_json(const Table& table) { return write_json(to_document(table)); }

} // namespace crossover
