#pragma once
/// A YAML mapping read strictly: each key is taken once, what is left over is an error, every error names file:line.

#include "tuner/error.hpp"
#include "tuner/named_words.hpp"
#include "tuner/nearest.hpp"
#include "tuner/parse_number.hpp"
#include "tuner/yaml_documents.hpp"

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>
#include <yaml-cpp/yaml.h>

namespace crossover {

/// "file:line" of a node; the file alone where yaml-cpp kept no mark.
inline std::string place_of(const std::string& file, const YAML::Mark& mark) {
    return mark.is_null() ? file : file + ":" + std::to_string(mark.line + 1);
}
inline std::string place_of(const std::string& file, const YAML::Node& node) { return place_of(file, node.Mark()); }

/// Parses text. @throws InputError with file:line for malformed YAML, and for a second document
inline YAML::Node load_yaml(const std::string& text, const std::string& file) {
    try {
        if (const std::optional<YAML::Mark> second = second_document(text))
            throw InputError(place_of(file, *second), "a second YAML document, behind a line `---`",
                             "keep one in a file");
        return YAML::Load(text);
    } catch (const YAML::Exception& error) {
        throw InputError(place_of(file, error.mark), "malformed YAML: " + error.msg, "correct it");
    }
}

/// A scalar as T: integers and floats in full and in range (nothing after the digits, no octal), true/false, text.
template <class T>
std::optional<T> scalar_as(const YAML::Node& node) {
    if (!node.IsScalar()) return std::nullopt;
    const std::string& text = node.Scalar();
    if constexpr (std::is_same_v<T, std::string>) {
        return text;
    } else if constexpr (std::is_same_v<T, bool>) {
        if (text == "true" || text == "false") return text == "true";
        return std::nullopt;
    } else {
        T value{};
        if (parse_number(text, value) != std::errc{}) return std::nullopt;
        if constexpr (std::is_floating_point_v<T>)
            if (value - value != T{}) return std::nullopt; // inf, nan
        return value;
    }
}

template <class T>
constexpr std::string_view kind_of_scalar() {
    if constexpr (std::is_same_v<T, std::string>) return "text";
    if constexpr (std::is_same_v<T, bool>) return "true or false";
    if constexpr (std::is_floating_point_v<T>) return "a number";
    if constexpr (std::is_unsigned_v<T>) return "an integer from 0";
    return "an integer";
}

/// What to write instead of a scalar that is no T.
template <class T>
std::string remedy_for_scalar(const YAML::Node& node) {
    std::string remedy = "write " + std::string(kind_of_scalar<T>());
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
        T value{};
        if (node.IsScalar() && parse_number(node.Scalar(), value) == std::errc::result_out_of_range)
            return remedy + " nearer to 0";
    }
    return remedy;
}

class YamlMap {
  public:
    /// @param what names the mapping in errors, e.g. "the table", "a cell"
    /// @throws InputError unless node is a mapping in which no key stands twice
    YamlMap(const YAML::Node& node, std::string file, std::string what)
        : node_(node), file_(std::move(file)), what_(std::move(what)) {
        if (!node_.IsMap()) fail(node_, what_ + " is not a mapping", "write `key: value` lines");
        std::set<std::string> seen;
        for (const auto& entry : node_)
            if (!entry.first.IsScalar() || !seen.insert(entry.first.Scalar()).second)
                fail(entry.first, "`" + (entry.first.IsScalar() ? entry.first.Scalar() : "?") + "` twice in " + what_,
                     "keep one");
    }

    const std::string& file() const { return file_; }
    const YAML::Node& node() const { return node_; }

    [[noreturn]] void fail(const YAML::Node& at, const std::string& what, const std::string& remedy) const {
        throw InputError(place_of(file_, at), what, remedy);
    }

    /// The node under `key`; nothing if the key is absent.
    std::optional<YAML::Node> find_node(const std::string& key) {
        known_.push_back(key);
        const YAML::Node& looked_at = node_; // operator[] of a non-const node inserts
        const YAML::Node found = looked_at[key];
        if (!found.IsDefined()) return std::nullopt;
        return found;
    }
    YAML::Node get_node(const std::string& key) {
        if (auto found = find_node(key)) return *found;
        for (const auto& entry : node_) // more likely misspelt than forgotten
            if (nearest(entry.first.Scalar(), std::vector<std::string>{key}) == key && !is_known(entry.first.Scalar()))
                fail_unknown(entry.first, {key});
        fail(node_, "`" + key + "` is missing in " + what_, "add it");
    }

    template <class T>
    std::optional<T> find(const std::string& key) {
        const auto found = find_node(key);
        if (!found) return std::nullopt;
        return as<T>(*found, key);
    }
    template <class T>
    T get(const std::string& key) {
        return as<T>(get_node(key), key);
    }

    /// What the word under `key` stands for: see tuner/named_words.hpp.
    template <class Words>
    auto get_word(const std::string& key, const Words& words) {
        const YAML::Node found = get_node(key);
        const auto word = as<std::string>(found, key);
        for (const auto& entry : words)
            if (word_of(entry) == word) return value_of(entry);
        fail(found, "`" + key + "` is `" + word + "`", "write one of " + listed(words));
    }
    /// The same for a key that may be absent: `value` then stays.
    template <class Words, class T>
    void find_word(const std::string& key, const Words& words, T& value) {
        if (find_node(key)) value = get_word(key, words);
    }

    /// The elements of the sequence under `key`; none if the key is absent.
    std::vector<YAML::Node> find_sequence(const std::string& key) {
        const auto found = find_node(key);
        if (!found) return {};
        if (!found->IsSequence())
            fail(place_node(*found, key), "`" + key + "` is not a list", "write [a, b] or `- a` lines");
        return {found->begin(), found->end()};
    }
    /// The mapping under `key`; nothing if the key is absent.
    std::optional<YamlMap> find_map(const std::string& key) {
        const auto found = find_node(key);
        if (!found) return std::nullopt;
        if (found->IsNull()) fail(place_node(*found, key), "`" + key + "` is empty", "write `key: value` lines in it");
        return YamlMap(*found, file_, "`" + key + "`");
    }
    YamlMap get_map(const std::string& key) {
        get_node(key);
        return *find_map(key);
    }

    /// A scalar of this mapping as T; `key` names it in the error.
    template <class T>
    T as(const YAML::Node& node, const std::string& key) const {
        if (auto value = scalar_as<T>(node)) return *std::move(value);
        fail(place_node(node, key),
             "`" + key + "` is " + (node.IsScalar() ? "`" + node.Scalar() + "`" : "not a single value"),
             remedy_for_scalar<T>(node));
    }

    /// @throws InputError for the first key that nobody asked for
    void finish() const {
        for (const auto& entry : node_)
            if (const std::string& key = entry.first.Scalar(); !is_known(key)) fail_unknown(entry.first, known_);
    }

  private:
    /// What tells the line of the value under `key`: the mark of one that is not there is that of what comes next.
    YAML::Node place_node(const YAML::Node& value, const std::string& key) const {
        if (!value.IsNull()) return value;
        for (const auto& entry : node_)
            if (entry.first.Scalar() == key) return entry.first;
        return node_;
    }
    bool is_known(const std::string& key) const { return std::find(known_.begin(), known_.end(), key) != known_.end(); }
    [[noreturn]] void fail_unknown(const YAML::Node& key, const std::vector<std::string>& known) const {
        fail(key, "unknown key `" + key.Scalar() + "` in " + what_, did_you_mean(key.Scalar(), known, "remove it"));
    }

    YAML::Node node_;
    std::string file_;
    std::string what_;
    std::vector<std::string> known_;
};

} // namespace crossover
