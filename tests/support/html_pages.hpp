#pragma once
/// What tests of report.html look at: pages made from synthetic samples, and what is drawn in them.

#include "output/html_report.hpp"
#include "output/svg.hpp"
#include "tests/support/command.hpp"
#include "tests/support/synthetic.hpp"
#include "tests/support/tables.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

namespace crossover::test::page {

/// A strict parser must take it, and nothing may come from elsewhere. Prints "fine", or what is wrong.
inline const char* const kCheckPage = R"py(
import html.parser, re, sys, xml.etree.ElementTree as tree
text = open(sys.argv[1], encoding="utf-8").read()
root = tree.fromstring(text.split("\n", 1)[1])
html.parser.HTMLParser().feed(text)
ids = [e.get("id") for e in root.iter() if e.get("id")]
wrong = []
if len(ids) != len(set(ids)): wrong.append("an id twice")
for e in root.iter():
    if e.tag in ("script", "link", "img", "iframe", "image", "use", "object"): wrong.append(e.tag)
    for name, value in e.attrib.items():
        if name.startswith("on") or name == "src": wrong.append(name)
        if name == "href" and (value[0] != "#" or value[1:] not in ids): wrong.append("link to " + value)
for e in root.iter("svg"):
    left, top, width, height = map(float, e.get("viewBox").split())
    for shape in e.iter():
        for name in ("x", "x1", "x2", "y", "y1", "y2", "width", "height"):
            if shape.get(name) and not -1 <= float(shape.get(name)) <= max(width, height) + 1:
                wrong.append(shape.tag + " " + name + "=" + shape.get(name))
        for x, y in re.findall(r"[M ]([^ ,M]+),([^ ,Mh]+)", shape.get("d") or ""):
            if not (0 <= float(x) <= width and 0 <= float(y) <= height): wrong.append("path to " + x + "," + y)
if re.search(r"https?:|url\(|@import|\bnan\b|\binf\b", text): wrong.append("an address or no number")
print("; ".join(wrong) or "fine")
)py";

inline void check_page(const std::string& html) {
    CHECK(html.rfind("<!DOCTYPE html>\n<html lang=\"en\">", 0) == 0);
    if (!test::has("python3 --version", "python3")) return;
    const test::TemporaryFolder folder;
    folder.write("check.py", kCheckPage);
    folder.write("page.html", html);
    const auto result = folder.run("python3 check.py page.html");
    CHECK(result.output == "fine\n");
}

inline std::size_t count_of(const std::string& text, const std::string& part) {
    std::size_t count = 0;
    for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
    return count;
}

inline bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// The number in `name="…"` of the first element that begins with `beginning`; NaN if there is none.
inline double attribute(const std::string& text, const std::string& beginning, const std::string& name) {
    const auto at = text.find(beginning);
    if (at == std::string::npos) return std::nan("");
    const std::string element = text.substr(at, text.find('>', at) - at);
    const auto value = element.find(" " + name + "=\"");
    return value == std::string::npos ? std::nan("") : std::stod(element.substr(value + name.size() + 3));
}

/// The vertices of the path of this class, as far as they are "x,y".
inline std::vector<svg::Vertex> path(const std::string& text, const std::string& style, std::size_t from = 0) {
    const auto at = text.find("<path class=\"" + style + "\" d=\"M", from);
    REQUIRE(at != std::string::npos);
    const auto begin = text.find(" d=\"M", at) + 5;
    std::vector<svg::Vertex> vertices;
    for (const char* next = text.c_str() + begin; next[-1] != '"';) {
        char* end = nullptr;
        const double x = std::strtod(next, &end);
        const double y = std::strtod(end + 1, &end);
        vertices.push_back({x, y});
        next = end + (*end == 'h' ? 3 : 1); // "h0M" between dots
    }
    return vertices;
}

/// The section of a cell.
inline std::string section(const std::string& html, const std::string& id) {
    const auto begin = html.find("id=\"" + id + "\"");
    REQUIRE(begin != std::string::npos);
    return html.substr(begin, html.find(" id=\"", begin + 1) - begin);
}

/// A cell of world size 2 without noise, times by algorithm as multiples of one curve; one session unless said.
inline std::vector<Sample> samples_of(const std::map<std::string, double>& factors,
                                      std::vector<std::int64_t> num_tokens, int sessions = 1) {
    synthetic::Machine machine;
    machine.cell.world_size = 2;
    machine.hidden_dims = {1024};
    machine.num_tokens = std::move(num_tokens);
    machine.sessions = sessions;
    machine.noise = synthetic::kNoNoise;
    for (const auto& [name, factor] : factors)
        machine.curves[name] = synthetic::scaled(synthetic::alpha_beta(12, 20), factor);
    return synthetic::measure(machine);
}

inline Table table_of(std::vector<Cell> cells) {
    Table table = test::empty_table("Synthetic", "9.0");
    table.cells = std::move(cells);
    return table;
}

inline std::string html_of(const Table& table, const std::vector<Sample>& samples, const FitOptions& fit = {}) {
    return emit_html({.table = table, .fitted = samples, .held_out = {}, .fit = fit, .others = {}});
}

} // namespace crossover::test::page
