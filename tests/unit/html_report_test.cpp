#include "output/html_report.hpp"

#include "output/latency_figure.hpp"
#include "tests/support/html_pages.hpp"
#include "tests/support/recordings.hpp"

#include <algorithm>

using namespace crossover;
using namespace crossover::test::page;

TEST_CASE("a run's report: a figure and a map a cell, the limits at their bytes") {
    const Config config = test::small_config();
    const std::vector<Sample> samples = test::small_samples(config);
    const Table table = make_table(samples, test::small_record(config), fit_options(config)).table;
    const std::string html = html_of(table, samples, fit_options(config));
    check_page(html);
    REQUIRE(table.cells.size() == 4);
    CHECK(count_of(html, "<figure class=\"curves\">") == 4);
    CHECK(count_of(html, "<figure class=\"map\">") == 4);
    for (const char* part : {"<h1>Dispatch table for Synthetic</h1>", "<dd>580.159</dd>", "<dd>2026-09-01</dd>",
                             "<dt>sessions</dt><dd>2</dd>", "<dt>source</dt><dd>gpu</dd>"})
        CHECK_MESSAGE(has(html, part), part);

    // hidden_dim 2048 and 4096 with 1…8192 tokens of 2 bytes: 4 KiB to 64 MiB, and half an octave on both sides.
    const double low = 12 - 0.5, high = 26 + 0.5;
    const auto x_of = [&](std::uint64_t bytes) {
        return kPlotLeft + (std::log2(static_cast<double>(bytes)) - low) / (high - low) * (kPlotRight - kPlotLeft);
    };
    for (const Cell& cell : table.cells) {
        CAPTURE(to_string(cell.key));
        std::string id = to_string(cell.key);
        std::replace_if(
            id.begin(), id.end(), [](char c) { return c == ' ' || c == '='; }, '-');
        const std::string text = section(html, id);
        REQUIRE(cell.oneshot->ci95.has_value());
        for (const auto& [style, threshold] : {std::pair("a0", cell.oneshot), std::pair("a1", cell.twoshot)}) {
            CHECK(attribute(text, std::string("<line class=\"limit ") + style, "x1") ==
                  doctest::Approx(x_of(threshold->max_bytes)).epsilon(0.0002));
            if (!threshold->ci95) continue;
            const auto [from, to] = *threshold->ci95;
            const std::string interval = std::string("<rect class=\"ci ") + style;
            CHECK(attribute(text, interval, "x") ==
                  doctest::Approx(from == 0 ? kPlotLeft : x_of(from)).epsilon(0.0003));
            CHECK(attribute(text, interval, "width") ==
                  doctest::Approx(x_of(to) - (from == 0 ? kPlotLeft : x_of(from))).epsilon(0.02));
        }
        CHECK(attribute(text, "<rect class=\"choice a0", "width") ==
              doctest::Approx(x_of(cell.oneshot->max_bytes) - kPlotLeft).epsilon(0.001));
        CHECK(count_of(text, "<rect class=\"field") == 9 + 16); // in the key, and 2 × 8 points
        CHECK(count_of(text, "class=\"curve a3\"") == 2);       // nccl_fused_norm: in the key and in the figure
        CHECK(has(text, "Is it bytes?"));
        for (const std::int64_t dim : config.hidden_dims) CHECK(has(text, "<tr><td>" + std::to_string(dim) + "</td>"));
    }
    CHECK(html == html_of(table, samples, fit_options(config)));
}

TEST_CASE("what is drawn is what was measured") {
    // Oneshot exactly 2 % slower than the only unfused algorithm: on the upper end of the guard band.
    const std::vector<Sample> samples =
        samples_of({{"nccl_fused_norm", 1.0}, {"oneshot", 1.02}, {"twoshot", 0.5}}, {1, 4, 16, 64});
    const Table table = table_of({test::measured_cell(2, 8192, 32768)});
    const std::string html = html_of(table, samples);
    check_page(html);
    const double guard_top = attribute(html, "<rect class=\"guard", "y");
    const auto ratio_panel = html.find("<rect class=\"guard");
    const std::vector<svg::Vertex> oneshot = path(html, "curve a0", ratio_panel);
    REQUIRE(oneshot.size() == 4);
    for (const svg::Vertex& vertex : oneshot) CHECK(vertex.y == doctest::Approx(guard_top).epsilon(0.0005));
    // Sizes four-fold apart lie equally far apart, and as far as the limits, which are as much apart.
    const double step = oneshot[1].x - oneshot[0].x;
    CHECK(oneshot[3].x - oneshot[2].x == doctest::Approx(step).epsilon(0.002));
    CHECK(attribute(html, "<line class=\"limit a1", "x1") - attribute(html, "<line class=\"limit a0", "x1") ==
          doctest::Approx(step).epsilon(0.002));
    CHECK(oneshot[1].x == doctest::Approx(attribute(html, "<line class=\"limit a0", "x1")).epsilon(0.0005));
    // Half the time: as far below the baseline's curve everywhere.
    const auto baseline = path(html, "curve a3", html.find("<figure class=\"curves\">\n<ul"));
    const auto twoshot = path(html, "curve a1");
    const auto slower = path(html, "curve a0");
    REQUIRE(baseline.size() == 4);
    for (std::size_t i = 0; i < 4; ++i) {
        CHECK(twoshot[i].y - baseline[i].y == doctest::Approx(twoshot[0].y - baseline[0].y).epsilon(0.01));
        CHECK(twoshot[i].y > baseline[i].y + 10);
        CHECK(slower[i].y < baseline[i].y);
    }
}

TEST_CASE("a line is the median over hidden_dims, its dots the single ones") {
    const auto html_of_dims = [](const std::vector<std::int64_t>& dims, const std::vector<std::int64_t>& num_tokens) {
        std::vector<Sample> samples;
        for (const std::int64_t dim : dims)
            for (Sample& sample : samples_of({{"nccl_fused_norm", 1.0}, {"oneshot", 0.5}}, num_tokens)) {
                sample.point.hidden_dim = dim;
                if (dim == 1152) sample.latency_us *= 3; // which the median does not see
                samples.push_back(sample);
            }
        return html_of(table_of({test::measured_cell(2, 8192, 32768)}), samples);
    };
    const std::string one = html_of_dims({1024}, {1, 4, 16});
    CHECK(path(one, "curve a0").size() == 3);
    CHECK_FALSE(has(one, "class=\"dots"));
    // Less than a quarter of an octave apart: one size of three hidden_dims; but two sizes of one.
    const std::string three = html_of_dims({1024, 1088, 1152}, {1, 4, 16});
    const auto line = path(three, "curve a0"), dots = path(three, "dots a0");
    REQUIRE(line.size() == 3);
    REQUIRE(dots.size() == 9); // by size, so the three hidden_dims of each
    for (std::size_t i = 0; i < 3; ++i) {
        CHECK(line[i].x == dots[3 * i + 1].x);
        CHECK(line[i].y == dots[3 * i + 1].y);
        CHECK(dots[3 * i + 2].y < line[i].y - 20);
    }
    CHECK(path(html_of_dims({1024}, {8, 9, 32}), "curve a0").size() == 3);
    CHECK(path(html_of_dims({1024, 2048}, {1, 2, 4}), "curve a0").size() == 4);
}

TEST_CASE("the regret map tells what the table's choice loses, by name") {
    const std::vector<Sample> samples =
        samples_of({{"nccl_fused_norm", 1.0}, {"oneshot", 1.5}, {"twoshot", 1.008}}, {1, 2, 4, 8});
    Cell cell = test::measured_cell(2, 2048, 4096);
    cell.intervals.back() = {.min_bytes = 4097, .max_bytes = 8192, .algorithm = "nccl_fused_norm"};
    cell.intervals.push_back({.min_bytes = 8193, .max_bytes = std::nullopt, .algorithm = "not_measured"});
    const std::string html = html_of(table_of({cell}), samples);
    check_page(html);
    CHECK(has(html, "<rect class=\"choice none\"")); // in the strip of choices, above 8192 bytes
    const std::string map = html.substr(html.find("<figure class=\"map\">"));
    // 12.04 µs at 2048 bytes, of which oneshot takes half more.
    CHECK(has(map, "<title>1 tokens × hidden_dim 1024, 2048 (2 KiB): table: oneshot, 18.06 µs; best: nccl_fused_norm, "
                   "12.04 µs; lost: 6.02 µs (+50.0 %)</title>"));
    CHECK(has(map, "best: nccl_fused_norm, 12.08 µs; lost: 0.10 µs (+0.8 %)"));
    CHECK(has(map, "table: nccl_fused_norm, 12.16 µs, the best</title>"));
    CHECK(has(map, "8 tokens × hidden_dim 1024, 16384 (16 KiB): the table says nothing</title>"));
    const auto fields = [&](const char* style) { return count_of(map, std::string("field ") + style + "\""); };
    CHECK(fields("r6") == 2); // one more in the key
    CHECK(fields("r2") == 2);
    CHECK(fields("r0") == 2);
    CHECK(fields("rn") == 2);
    CHECK(fields("r4") == 1);
    // Two told with a loss, (50 % + 0.8 % + 0) / 3.
    CHECK(
        has(html, "<tr><td>this table</td><td>fitted</td><td>3</td><td>+16.93 %</td><td>+50.0 %</td><td>1</td></tr>"));

    const Choice oneshot = [](const auto&, const Point&) { return "oneshot"; };
    const NamedRegret other{
        .name = "always <that>", .fitted = regret_report(samples, oneshot), .held_out = RegretReport{}};
    const std::string beside = emit_html(
        {.table = table_of({cell}), .fitted = samples, .held_out = {}, .fit = {}, .others = std::span(&other, 1)});
    CHECK(has(beside, "<tr><td>always &lt;that&gt;</td><td>fitted</td><td>4</td><td>+50.00 %</td><td>+50.0 %</td>"
                      "<td>0</td></tr>"));
}

TEST_CASE("held-out shapes judge the table and are in no curve") {
    const std::map<std::string, double> factors{{"nccl_fused_norm", 1.0}, {"oneshot", 1.25}};
    const std::vector<Sample> fitted = samples_of(factors, {1, 4}), held_out = samples_of(factors, {2, 3});
    const Table table = table_of({test::measured_cell(2, 4096, 4096)}); // 2 tokens: oneshot; 3: the baseline
    const std::string html =
        emit_html({.table = table, .fitted = fitted, .held_out = held_out, .fit = {}, .others = {}});
    check_page(html);
    CHECK(path(html, "curve a0").size() == 2);
    CHECK(has(html, "<td>this table</td><td>fitted</td><td>2</td><td>+12.50 %</td><td>+25.0 %</td><td>0</td>"));
    CHECK(has(html, "<td>this table</td><td>held out</td><td>2</td><td>+12.50 %</td><td>+25.0 %</td><td>0</td>"));
    CHECK(count_of(html, "<rect class=\"field held ") == 3); // one in the key
    CHECK(count_of(html, "(+25.0 %); held out of the fit</title>") == 1);
    CHECK(count_of(html, ", the best; held out of the fit</title>") == 1);
    // In the order of tokens, though two sets of samples.
    const std::string map = html.substr(html.find("<figure class=\"map\">"));
    CHECK(map.find("<title>1 tokens") < map.find("<title>2 tokens"));
    CHECK(map.find("<title>2 tokens") < map.find("<title>3 tokens"));
    CHECK(map.find("<title>3 tokens") < map.find("<title>4 tokens"));
}

TEST_CASE("every state of a cell, with no samples at all") {
    const std::string html = html_of(test::every_state(), {});
    check_page(html);
    CHECK(count_of(html, "<section id=") == test::every_state().cells.size());
    CHECK(count_of(html, "No samples of this cell.") == test::every_state().cells.size());
    CHECK_FALSE(has(html, "<figure"));
    for (const char* part :
         {"<td>tie</td>", "<td>unsupported</td>", "<td>0 (never from 4 KiB on)</td>", "<td>≥ 67108864 (64 MiB)</td>",
          "<td>16777216 (16 MiB), workspace</td>", "no peer access between all GPUs",
          "<td>131072 (128 KiB)<br/><span class=\"soft\">~115 KiB … ~137 KiB</span></td>",
          "<li>262145 (~256 KiB) to 393216 (384 KiB): nccl_symm_fused_norm</li>",
          "<li>hidden_dim 2048 by itself: oneshot max 16384 (16 KiB), twoshot max 2097152 (2 MiB), baseline "
          "nccl_fused_norm</li>",
          "<li>oneshot at hidden_dim 4096, 65537 (~64 KiB) to 131072 (128 KiB), launched with "})
        CHECK_MESSAGE(has(html, part), part);
    CHECK(count_of(html, "<h4>Hidden dims with limits of their own in the table</h4>") == 1);
    CHECK(count_of(html, "<h4>Launches in the table</h4>") == 1);
    check_page(html_of(test::empty_table("X", "9.0"), {}));
}

TEST_CASE("samples with little in them") {
    SUBCASE("one size, one session") {
        const auto samples = samples_of({{"nccl_separate", 1.0}, {"oneshot", 0.5}}, {8});
        const std::string html = html_of(table_of(fit_cells(samples, {})), samples);
        check_page(html);
        CHECK(count_of(html, "<path class=\"dot a0\"") == 2);
        CHECK(has(html, "oneshot max: ≥ 16384 (16 KiB)"));
        CHECK_FALSE(has(html, "class=\"ci"));
        CHECK_FALSE(has(html, "Is it bytes?"));
    }
    SUBCASE("a tie") {
        const auto samples = samples_of({{"nccl_separate", 1.0}, {"oneshot", 1.0}}, {1, 8, 64}, 2);
        const std::string html = html_of(table_of(fit_cells(samples, {})), samples);
        check_page(html);
        CHECK(has(html, "oneshot max: tie"));
        CHECK_FALSE(has(html, "class=\"limit"));
        CHECK(has(html, "<rect class=\"choice a2\""));
    }
    SUBCASE("a hidden_dim that ties where others do not") {
        auto samples = samples_of({{"nccl_separate", 1.0}, {"oneshot", 1.0}}, {1, 8, 64}, 2);
        for (Sample sample : samples_of({{"nccl_separate", 1.0}, {"oneshot", 0.5}}, {1, 8, 64}, 2)) {
            sample.point.hidden_dim = 2048;
            samples.push_back(sample);
        }
        const std::string html = html_of(table_of(fit_cells(samples, {})), samples);
        check_page(html);
        CHECK(has(html, "<tr><td>1024</td><td>tie</td>"));
        CHECK(has(html, "<tr><td>2048</td><td>≥ 262144 (256 KiB)</td>"));
    }
    SUBCASE("only failures") {
        auto samples = samples_of({{"nccl_separate", 1.0}, {"oneshot", 1.0}}, {1, 8});
        for (Sample& sample : samples) {
            sample.status = SampleStatus::failed;
            sample.latency_us = 0;
            sample.note = "wrong <numbers> & \"more\"";
        }
        const std::string html = html_of(table_of(fit_cells(samples, {})), samples);
        check_page(html);
        CHECK(has(html, "No sample of this cell has a time."));
        CHECK(has(html, "wrong &lt;numbers&gt; &amp; &quot;more&quot;"));
        CHECK_FALSE(has(html, "<figure"));
    }
    SUBCASE("an algorithm that fails at one size, and one that is never unfused") {
        auto samples = samples_of({{"oneshot", 0.5}, {"twoshot", 0.7}}, {1, 8, 64});
        samples.front().status = SampleStatus::timeout;
        samples.front().latency_us = 0;
        const std::string html = html_of(table_of({test::measured_cell(2, 4096, 65536)}), samples);
        check_page(html);
        CHECK(has(html, "no point has times of both fused and unfused"));
        CHECK(path(html, "curve a0").size() == 2);
        CHECK(path(html, "curve a1").size() == 3);
        CHECK(has(html, "no time of what the table says, oneshot"));
    }
    SUBCASE("limits beyond the samples") {
        const auto samples = samples_of({{"nccl_separate", 1.0}, {"oneshot", 0.5}}, {1, 8});
        const std::string html = html_of(table_of({test::measured_cell(2, 1, std::uint64_t{1} << 60)}), samples);
        check_page(html);
        CHECK_FALSE(has(html, "class=\"limit"));
        CHECK(has(html, "twoshot max: 1152921504606846976 (1 EiB)"));
    }
    SUBCASE("a cell that the table does not have") {
        const auto samples = samples_of({{"nccl_separate", 1.0}, {"oneshot", 0.5}}, {1, 8});
        const std::string html = html_of(table_of({test::measured_cell(4, 4096, 8192)}), samples);
        check_page(html);
        CHECK(has(html, "Samples of cells that the table does not have"));
        CHECK(has(html, "<li>n=2 allreduce_residual_rmsnorm bfloat16 none</li>"));
    }
}

TEST_CASE("cells of other patterns are folded") {
    Cell other = test::measured_cell(4, 4096, 8192);
    other.key.pattern = Pattern::allreduce;
    const std::string both = html_of(table_of({other, test::measured_cell(2, 4096, 8192)}), {});
    check_page(both);
    CHECK(has(both, "<details id=\"n-4-allreduce-bfloat16-none\"><summary>"));
    CHECK(has(both, "<section id=\"n-2-allreduce_residual_rmsnorm-bfloat16-none\">"));
    CHECK_FALSE(has(html_of(table_of({other}), {}), "<details")); // then it is the main one
}

TEST_CASE("text from outside stays text") {
    const std::string hostile =
        "</title><script>alert(1)</script> & \"quoted\" 'x'\n\x01\x7f\xff\xc3(\xed\xa0\x80 ]]> é \U0001F600";
    auto samples = samples_of({{"nccl_separate", 1.0}, {"oneshot", 0.5}}, {1, 8, 64});
    for (Sample& sample : samples) {
        sample.sku = hostile;
        if (sample.algorithm == "nccl_separate") sample.algorithm = hostile;
    }
    Table table = table_of(fit_cells(samples, {}));
    table.fingerprint.sku = hostile;
    table.provenance.driver = hostile;
    table.provenance.extra[hostile] = hostile;
    table.cells.front().note = hostile;
    table.cells.front().intervals.back().algorithm = hostile;
    const std::string html = html_of(table, samples);
    check_page(html);
    CHECK_FALSE(has(html, "<script"));
    CHECK(has(html, "&lt;script&gt;"));
}
