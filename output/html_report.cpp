#include "output/html_report.hpp"

#include "output/algorithm_styles.hpp"
#include "output/format.hpp"
#include "output/html_page.hpp"
#include "output/latency_figure.hpp"
#include "output/regret_map.hpp"
#include "output/svg.hpp"
#include "tuner/fit/launches.hpp"
#include "tuner/fit/observations.hpp"

#include <algorithm>
#include <set>

namespace crossover {
namespace {

using html::Content;
using html::element;

/// What the sections share.
struct Material {
    const HtmlReport& report;
    std::vector<CellObservations> fitted; // of the cells that have samples
    std::vector<CellObservations> held_out;
    std::vector<HiddenDimFit> hidden_dims;
    AlgorithmStyles styles;
    std::array<double, 2> log2_bytes{}; // one axis for all cells, so that they can be compared by eye
};

std::array<double, 2> byte_range(const std::vector<CellObservations>& observations) {
    constexpr double kMargin = 0.5; // octaves: a single size gets a whole one
    std::uint64_t least = 1 << 10, greatest = 0;
    for (const CellObservations& cell : observations)
        for (const Point& point : cell.points) {
            const std::uint64_t bytes = message_bytes(point);
            least = greatest == 0 ? bytes : std::min(least, bytes);
            greatest = std::max(greatest, bytes);
        }
    return {log2_bytes(least) - kMargin, log2_bytes(std::max(least, greatest)) + kMargin};
}

std::set<std::string> names_of(const CellObservations& cell) {
    std::set<std::string> names;
    for (const Series& series : cell.series)
        if (!series.empty()) names.insert(series.name);
    return names;
}

Material gather(const HtmlReport& report) {
    const Launches launches = launches_of(report.table.cells);
    std::vector<CellObservations> observations = arrange(as_launched(report.fitted, launches, true));
    std::set<std::string> names;
    for (const CellObservations& cell : observations) names.merge(names_of(cell));
    for (const Cell& cell : report.table.cells)
        for (const Interval& interval : cell.intervals)
            if (interval.algorithm != algorithm::not_measured) names.insert(interval.algorithm);
    const std::array range = byte_range(observations);
    return {.report = report,
            .fitted = std::move(observations),
            .held_out = arrange(as_launched(report.held_out, launches)),
            .hidden_dims = fit_hidden_dims(report.fitted, report.table.cells, report.fit),
            .styles = AlgorithmStyles(names),
            .log2_bytes = range};
}

const CellObservations* find_observations(const std::vector<CellObservations>& all, const CellKey& key) {
    const auto found =
        std::find_if(all.begin(), all.end(), [&](const CellObservations& each) { return each.key == key; });
    return found == all.end() ? nullptr : &*found;
}

std::string id_of(const CellKey& key) { return html::anchor(to_string(key)); }

// ---- the top of the page ----

std::string header(const Table& table) {
    std::string facts;
    for (const auto& row : provenance_rows(table))
        facts += "<div>" + element("dt", row[0]) + element("dd", row[1]) + "</div>\n";
    return "<header>\n" + element("h1", "Dispatch table for " + table.fingerprint.sku) + "\n<dl>\n" + facts +
           "</dl>\n</header>\n";
}

/// A limit, and on a line of its own its interval, if it has one.
template <class Limit> // Threshold or Onset
Content with_interval(const Content& text, const std::optional<Limit>& limit) {
    if (!limit || !limit->ci95) return text;
    return Content::markup(text.str() + "<br/>" + element("span", ci_text(limit), "soft"));
}
Content limit_content(const Cell& cell, std::string_view name) {
    return with_interval(threshold_text(cell, name), threshold_of(cell, name));
}
Content onset_content(const Cell& cell) { return with_interval(onset_text(cell), cell.onset); }

/// The columns between a cell's status and its baseline: limits and gains.
std::vector<Content> limit_head(Pattern pattern) {
    if (is_moe(pattern))
        return {is_moe_dispatch(pattern) ? "quantize before gather from, 95 % interval"
                                         : "reduce-scatter from, 95 % interval",
                "gain at edge"};
    return {"oneshot max, 95 % interval", "gain at edge", "twoshot max, 95 % interval", "gain at edge"};
}
std::vector<Content> limit_row(const Cell& cell) {
    if (is_moe(cell.key.pattern)) return {onset_content(cell), gain_text(cell.onset)};
    return {limit_content(cell, algorithm::oneshot), gain_text(cell.oneshot), limit_content(cell, algorithm::twoshot),
            gain_text(cell.twoshot)};
}

std::string summary_section(const Table& table) {
    std::string out = "<h2>Limits</h2>\n";
    for (auto cell = table.cells.begin(); cell != table.cells.end();) {
        const std::string group = group_name(cell->key);
        std::vector<Content> head{"world size", "quant", "status"};
        const std::vector<Content> limits = limit_head(cell->key.pattern);
        head.insert(head.end(), limits.begin(), limits.end());
        for (const char* const name : {"baseline", "mean regret", "worst"}) head.emplace_back(name);
        std::vector<std::vector<Content>> rows{head};
        std::string notes;
        for (; cell != table.cells.end() && group_name(cell->key) == group; ++cell) {
            const CellKey& key = cell->key;
            const std::string world_size = std::to_string(key.world_size), quant(to_string(key.quant));
            std::vector<Content> row{html::link_to(id_of(key), world_size), quant, to_string(cell->status)};
            const std::vector<Content> limits_of_cell = limit_row(*cell);
            row.insert(row.end(), limits_of_cell.begin(), limits_of_cell.end());
            row.emplace_back(cell->baseline.empty() ? "–" : cell->baseline);
            row.emplace_back(cell->regret ? percent(cell->regret->mean, 2) : "–");
            row.emplace_back(cell->regret ? percent(cell->regret->max, 1) : "–");
            rows.push_back(std::move(row));
            if (!cell->note.empty())
                notes += element("li", "world size " + world_size + ", " + quant + ": " + cell->note) + "\n";
        }
        out += element("h4", group) + "\n" + html::table(rows);
        if (!notes.empty()) out += "<ul class=\"facts\">\n" + notes + "</ul>\n";
    }
    if (table.cells.empty()) out += "<p>The table has no cells.</p>\n";
    static constexpr const char* kRegret =
        " Regret is the time with the table ÷ the time with the best algorithm at that point − 1.";
    return out + element("p", how_to_read(table.cells) + kRegret, "soft") + "\n";
}

void add_regret_rows(std::vector<std::vector<Content>>& rows, const NamedRegret& loss) {
    for (const auto& [shapes, report] : {std::pair("fitted", &loss.fitted), std::pair("held out", &loss.held_out)}) {
        const Regret regret = summary(report->points);
        const std::int64_t not_told = report->not_covered + report->not_sampled;
        if (regret.points + not_told == 0) continue;
        rows.push_back({loss.name, shapes, std::to_string(regret.points), percent(regret.mean, 2),
                        percent(regret.max, 1), std::to_string(not_told)});
    }
}

/// The table as a whole, beside others where there are some.
std::string regret_section(const Material& material) {
    const Choice choice = choice_of(material.report.table.cells);
    const NamedRegret own{.name = "this table",
                          .fitted = regret_report(material.fitted, choice),
                          .held_out = regret_report(material.held_out, choice)};
    std::vector<std::vector<Content>> rows{{"table", "shapes", "points", "mean regret", "worst", "points not told"}};
    add_regret_rows(rows, own);
    for (const NamedRegret& other : material.report.others) add_regret_rows(rows, other);
    if (rows.size() == 1) return "";
    std::string out = "<h2>Time lost</h2>\n" + html::table(rows);
    if (!material.held_out.empty())
        out +=
            element("p", "Shapes that are held out are measured to judge the limits and are in no fit.", "soft") + "\n";
    if (const std::int64_t outliers = own.fitted.outliers + own.held_out.outliers; outliers > 0)
        out += element("p", std::to_string(outliers) + " samples are left out as outliers.", "soft") + "\n";
    return out;
}

// ---- a cell ----

std::string curve_key(const CellObservations& observations, const AlgorithmStyles& styles) {
    std::string out = "<ul class=\"key\">";
    for (const std::string& name : styles.ordered(names_of(observations)))
        out += "<li><svg class=\"line " + styles.style(name) + "\" viewBox=\"0 0 30 10\">" +
               svg::line({0, 5}, {30, 5}, "curve " + styles.style(name)) + "</svg>" + svg::escaped(name) + "</li>";
    return out + "</ul>\n";
}

/// Is it bytes? The limits of each hidden_dim alone, beside the common ones.
std::string hidden_dim_table(const Material& material, const Cell& cell) {
    const bool moe = is_moe(cell.key.pattern);
    std::vector<std::vector<Content>> rows;
    const auto add = [&](const Content& name, const Cell& limits, const Content& mean, const Content& worst) {
        if (moe)
            rows.push_back({name, onset_content(limits), mean, worst});
        else
            rows.push_back({name, limit_content(limits, algorithm::oneshot), limit_content(limits, algorithm::twoshot),
                            mean, worst});
    };
    if (moe)
        rows = {{"hidden_dim", limit_head(cell.key.pattern).front(), "mean cost of the common limit", "worst"}};
    else
        rows = {{"hidden_dim", "oneshot max, 95 % interval", "twoshot max, 95 % interval",
                 "mean cost of the common limits", "worst"}};
    add("all", cell, "–", "–");
    for (const HiddenDimFit& fit : material.hidden_dims) {
        if (fit.own.key != cell.key) continue;
        Cell own = fit.own;
        own.measured_min_bytes = 0; // its range is not the cell's
        add(std::to_string(fit.hidden_dim), own, percent(fit.mean_cost, 2), percent(fit.worst_cost, 1));
    }
    if (rows.size() == 2) return "";
    return "<h4>Is it bytes? Limits of each hidden_dim alone</h4>\n" + html::table(rows);
}

/// Of the curves. What is set against what is the pattern's.
std::string curves_caption(Pattern pattern) {
    std::string contest = "the fused algorithms against the fastest unfused one", challenger = "a fused one";
    if (is_moe_dispatch(pattern)) {
        contest = "the algorithms that quantize before the gather against the fastest that quantizes after it";
        challenger = "one that quantizes before the gather";
    } else if (is_moe(pattern)) {
        contest = "the algorithms that reduce-scatter against the fastest that all-reduces";
        challenger = "one that reduce-scatters";
    }
    return "Lines: median over hidden_dims; dots: single hidden_dims. " +
           std::string(is_moe(pattern) ? "Dashed vertical: the limit, with its 95 % interval shaded."
                                       : "Dashed verticals: the limits, with their 95 % intervals shaded.") +
           " Strip: what the table chooses. Below: " + contest +
           " at each point, on a scale stretched around 0; the shaded guard band is what " + challenger +
           " must win by.";
}

std::string list_of(const std::vector<std::string>& facts) {
    std::string items;
    for (const std::string& fact : facts) items += element("li", fact) + "\n";
    return "<ul class=\"facts\">\n" + items + "</ul>\n";
}

/// What the samples of a cell look like, and what its limits lose on them.
std::string drawn_samples(const Material& material, const Cell& cell) {
    const CellObservations* observations = find_observations(material.fitted, cell.key);
    if (!observations) return "<p class=\"soft\">No samples of this cell.</p>\n";
    const std::string curves = latency_figure({.cell = cell,
                                               .observations = *observations,
                                               .log2_bytes = material.log2_bytes,
                                               .guard_band = material.report.fit.guard_band,
                                               .styles = material.styles});
    if (curves.empty()) return "<p class=\"soft\">No sample of this cell has a time.</p>\n";
    return "<figure class=\"curves\">\n" + curve_key(*observations, material.styles) + curves +
           element("figcaption", curves_caption(cell.key.pattern)) +
           "\n</figure>\n<h4>Regret map</h4>\n<figure class=\"map\">\n" + regret_key() +
           regret_map(cell, *observations, find_observations(material.held_out, cell.key), material.styles) +
           "<figcaption>Colour: time lost by the table's choice against the best algorithm measured there. Bar: the "
           "choice, in the colours above. A field reaches half-way to its neighbours. Framed: shapes "
           "that are measured to judge the limits and are in no fit. Hover for names and "
           "times.</figcaption>\n</figure>\n" +
           hidden_dim_table(material, cell);
}

std::string cell_body(const Material& material, const Cell& cell) {
    std::string out = list_of(cell_facts(cell)) + drawn_samples(material, cell);
    if (!cell.hidden_dims.empty())
        out += "<h4>Hidden dims with limits of their own in the table</h4>\n" + list_of(row_facts(cell));
    if (!cell.launches.empty()) out += "<h4>Launches in the table</h4>\n" + list_of(launch_facts(cell));
    return out;
}

std::string cell_sections(const Material& material) {
    const std::vector<Cell>& cells = material.report.table.cells;
    if (cells.empty()) return "";
    const Pattern main_pattern = Pattern::allreduce_residual_rmsnorm;
    const bool has_main =
        std::any_of(cells.begin(), cells.end(), [&](const Cell& cell) { return cell.key.pattern == main_pattern; });
    const Pattern unfolded = has_main ? main_pattern : cells.front().key.pattern;
    std::string out = "<h2 class=\"cells\">Cells</h2>\n";
    for (const Cell& cell : cells) {
        const bool open = cell.key.pattern == unfolded;
        out += std::string(open ? "<section" : "<details") + " id=\"" + id_of(cell.key) + "\">" +
               element(open ? "h3" : "summary", to_string(cell.key)) + "\n" + cell_body(material, cell) +
               (open ? "</section>\n" : "</details>\n");
    }
    return out;
}

/// Samples that no section shows.
std::string samples_without_cell(const Material& material) {
    std::string names;
    for (const CellObservations& each : material.fitted)
        if (!find_cell(material.report.table, each.key)) names += element("li", to_string(each.key)) + "\n";
    return names.empty()
               ? ""
               : "<h2>Samples of cells that the table does not have</h2>\n<ul class=\"facts\">\n" + names + "</ul>\n";
}

} // namespace

std::string emit_html(const HtmlReport& report) {
    const Material material = gather(report);
    const std::string body = header(report.table) + "<main>\n" + summary_section(report.table) +
                             regret_section(material) + cell_sections(material) + samples_without_cell(material) +
                             "</main>\n";
    return html::page("Dispatch table for " + report.table.fingerprint.sku, AlgorithmStyles::css() + regret_css(),
                      body);
}

} // namespace crossover
