// MoE operations in report.html.

#include "output/algorithm_styles.hpp"
#include "output/latency_figure.hpp"
#include "tests/support/html_pages.hpp"

using namespace crossover;
using namespace crossover::test::page;

namespace {

/// A MoE cell of world size 2 with samples of 4 KiB to 1 MiB: the challenger is used from `onset` on.
Cell moe_cell(Pattern pattern, std::optional<std::uint64_t> onset) {
    Cell cell;
    cell.key = {.pattern = pattern, .quant = is_moe_dispatch(pattern) ? Quant::fp4 : Quant::none, .world_size = 2};
    cell.status = CellStatus::measured;
    cell.baseline = is_moe_dispatch(pattern) ? "nccl_allgather_quantize" : "nccl_allreduce_slice";
    cell.onset = Onset{.min_bytes = onset, .ci95 = {}, .gain_at_edge = 0.1};
    cell.measured_min_bytes = 4096;
    cell.measured_max_bytes = 1 << 20;
    const std::string challenger = is_moe_dispatch(pattern) ? "quantize_nccl_allgather" : "nccl_reduce_scatter";
    if (!onset)
        cell.intervals = {{0, cell.measured_max_bytes, cell.baseline}, {(1 << 20) + 1, {}, "not_measured"}};
    else if (*onset == 0)
        cell.intervals = {{0, {}, challenger}};
    else
        cell.intervals = {{0, *onset - 1, cell.baseline}, {*onset, {}, challenger}};
    return cell;
}

std::string html_of_moe(const Cell& cell) {
    const bool dispatch = is_moe_dispatch(cell.key.pattern);
    std::map<std::string, double> factors{{cell.baseline, 1.0}, {"push", 0.7}};
    factors[dispatch ? "quantize_nccl_allgather" : "nccl_reduce_scatter"] = 0.8;
    if (dispatch) factors["nccl_allreduce_quantize"] = 1.5;
    std::vector<Sample> samples = samples_of(factors, {2, 8, 32, 128, 512});
    for (Sample& sample : samples) sample.point.cell = cell.key;
    const std::string html = html_of(table_of({cell}), samples);
    check_page(html);
    return html;
}

} // namespace

TEST_CASE("each algorithm of a pattern has a colour of its own, challengers thick lines") {
    const std::string css = AlgorithmStyles::css();
    const auto value = [&](const std::string& style, const std::string& beginning) {
        const auto at = css.find("." + style + beginning);
        REQUIRE(at != std::string::npos);
        const auto begin = at + style.size() + 1 + beginning.size();
        return css.substr(begin, css.find_first_of(";}", begin) - begin);
    };
    for (const auto& pattern : kPatterns) {
        CAPTURE(pattern.name);
        std::set<std::string> names, colours;
        for (const std::string_view name : algorithm::kOwn)
            if (name != algorithm::floor && algorithm::does(name, pattern.value)) names.emplace(name);
        const AlgorithmStyles styles(names);
        for (const std::string& name : names) {
            CAPTURE(name);
            CHECK(colours.insert(value(styles.style(name), "{color:")).second);
            CHECK((value(styles.style(name), ".curve{stroke-width:") == "2.4") == algorithm::is_challenger(name));
        }
    }
}

TEST_CASE("a MoE cell has one limit, and no words of fused kernels") {
    // From 4 KiB to 1 MiB, and half an octave on both sides.
    const auto x_of = [](double bytes) {
        return kPlotLeft + (std::log2(bytes) - 11.5) / (20.5 - 11.5) * (kPlotRight - kPlotLeft);
    };
    const auto check_words = [](const std::string& html) {
        for (const char* word : {"fused", "oneshot", "twoshot"})
            CHECK_MESSAGE(!has(html.substr(html.find("<h1>")), word), word);
        CHECK(has(html, "message bytes (input tensor of one rank, mean over the ranks)"));
        CHECK(has(html, "Dashed vertical: the limit, with its 95 % interval shaded."));
        CHECK(has(html, "Of MoE operations they are the mean over the ranks"));
    };
    SUBCASE("dispatch") {
        Cell cell = moe_cell(Pattern::moe_dispatch_zipf, 65536);
        cell.onset->ci95 = {32768, 131072};
        const std::string html = html_of_moe(cell);
        check_words(html);
        CHECK(count_of(html, "<line class=\"limit ") == 2); // over the times, and over the ratios
        const double x = attribute(html, "<line class=\"limit ", "x1");
        CHECK(x == doctest::Approx(x_of(65536)).epsilon(0.0002));
        // In the colour of what is used from there on, whose part of the strip begins there.
        const std::string style =
            AlgorithmStyles({"nccl_allgather_quantize", "nccl_allreduce_quantize", "push", "quantize_nccl_allgather"})
                .style("quantize_nccl_allgather");
        CHECK(has(html, "<line class=\"limit " + style + "\""));
        CHECK(attribute(html, "<rect class=\"choice " + style, "x") == doctest::Approx(x).epsilon(0.0002));
        CHECK(attribute(html, "<rect class=\"ci " + style, "x") == doctest::Approx(x_of(32768)).epsilon(0.0002));
        CHECK(attribute(html, "<rect class=\"ci " + style, "width") ==
              doctest::Approx(x_of(131072) - x_of(32768)).epsilon(0.002));
        CHECK(has(html, "95 % interval of quantize before gather from: 32 KiB … 128 KiB"));
        CHECK(has(html, ">quantize before gather from: 65536 (64 KiB)<"));
        CHECK(has(html, ">quantize before gather ÷ fastest quantize after gather − 1 (below 0: quantize before gather "
                        "is faster)<"));
        CHECK(has(html, "the algorithms that quantize before the gather against the fastest that quantizes after it"));
        // Of the two baselines the faster one is what the challengers are set against.
        const auto panel = html.find("<rect class=\"guard");
        CHECK(count_of(html.substr(panel), "<path class=\"curve ") == 2);
    }
    SUBCASE("combine") {
        const std::string html = html_of_moe(moe_cell(Pattern::moe_combine_even, 16384));
        check_words(html);
        CHECK(attribute(html, "<line class=\"limit ", "x1") == doctest::Approx(x_of(16384)).epsilon(0.0002));
        CHECK_FALSE(has(html, "class=\"ci "));
        CHECK(has(html, ">reduce-scatter from: 16384 (16 KiB)<"));
        CHECK(has(html, ">reduce-scatter ÷ fastest all-reduce − 1 (below 0: reduce-scatter is faster)<"));
        CHECK(has(html, "the algorithms that reduce-scatter against the fastest that all-reduces at each point"));
    }
    SUBCASE("always, never and nothing known: a label, and no line") {
        Cell unknown = moe_cell(Pattern::moe_combine_even, std::nullopt);
        unknown.onset.reset();
        for (const auto& [cell, text] : {std::pair(moe_cell(Pattern::moe_combine_even, 0), "0 (always)"),
                                         std::pair(moe_cell(Pattern::moe_combine_even, {}), "never up to 1 MiB"),
                                         std::pair(unknown, "not measured")}) {
            const std::string html = html_of_moe(cell);
            check_words(html);
            CHECK(has(html, ">reduce-scatter from: " + std::string(text) + "<"));
            CHECK_FALSE(has(html, "<line class=\"limit "));
        }
    }
    SUBCASE("beside fused ones, each has its own words") {
        const std::string html =
            html_of(table_of({test::measured_cell(2, 8192, 32768), moe_cell(Pattern::moe_combine_even, 16384)}), {});
        CHECK(has(html, "up to “oneshot max” use oneshot"));
        CHECK(has(html, "Of MoE operations they are the mean over the ranks"));
        CHECK_FALSE(has(html_of(table_of({test::measured_cell(2, 8192, 32768)}), {}), "MoE"));
    }
}
