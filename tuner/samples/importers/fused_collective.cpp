/// vLLM benchmarks/kernels/benchmark_fused_collective.py --output-file (appends; Markdown), and SGLang's version of it
/// in benchmark/kernels/flashinfer_allreduce_fusion. Strict: a line that the scripts do not write is an error.
#include "tuner/joined.hpp"
#include "tuner/samples/importers/result_file.hpp"

#include <algorithm>
#include <optional>
#include <sstream>

namespace crossover::importers {
namespace {

constexpr std::string_view kTitle = "# FlashInfer Fused Collective Operations Benchmark Results";
constexpr int kPrintedDecimals = 3; // both scripts print ms as %.3f
constexpr std::int64_t kMostTrials = 1'000'000'000;

/// What differs between the two.
struct Dialect {
    std::string_view tokens_key; // in "## Configuration: num_tokens=512, …"
    std::string_view format;     // name of --from
};

/// Kernels of the "Standard Allreduce …" rows, by name without "fp8" or "fp4".
/// Eager with vLLM's (SGLang's) own kernels: all-reduce, then one kernel each.
constexpr std::string_view kSeparate[] = {
    "standard_allreduce_rmsnorm", "standard_allreduce_rmsnorm_quant", "standard_allreduce_custom_rms_norm",
    "standard_allreduce_custom_rms_norm_quant", "standard_allreduce_custom_rms_norm_custom_quant"};

std::vector<std::string_view> words_of(std::string_view name) {
    std::vector<std::string_view> words = split(name, '_');
    std::erase(words, std::string_view());
    return words;
}

/// Takes "fp8" or "fp4" out of the words. The quant mode is the cell's, so it is no part of the algorithm's name.
Quant take_quant(std::vector<std::string_view>& words, const Place& place) {
    const bool fp8 = std::erase(words, "fp8") > 0;
    const bool fp4 = std::erase(words, "fp4") > 0;
    if (fp8 && fp4) place.fail("the operation says fp8 and fp4", "correct the row or take it out");
    return fp8 ? Quant::fp8 : fp4 ? Quant::fp4 : Quant::none;
}

class Reader {
  public:
    Reader(const std::string& file, const ImportOptions& options, const Dialect& dialect)
        : file_(file), options_(options), dialect_(dialect) {
        result_.decimals = kPrintedDecimals;
    }

    ResultFile read(std::string_view text) {
        for (const Line& line : split_lines(text)) {
            place_ = {file_, line.number};
            if (run_.block < 0 && line.text != kTitle)
                place_.fail("is not a result file of " + std::string(dialect_.format),
                            "it would begin with `" + std::string(kTitle) + "`; see --from");
            read_line(line.text);
        }
        end_section();
        return std::move(result_);
    }

  private:
    /// What stands above the tables of one run of the script.
    struct Run {
        int block = -1;
        int world_size = 0; // 0 = not said, as below
        std::int64_t hidden_dim = 0;
        int trials = 0;
        std::vector<Quant> quants = {}; // empty = not said
    };
    /// "## Configuration: …" and the table below it.
    struct Section {
        int line = 0;
        std::int64_t num_tokens = 0;
        DType dtype = DType::bfloat16;
        Pattern pattern = Pattern::allreduce_residual_rmsnorm;
        std::string input_mib = {}; // as printed; empty = not said
        bool has_header = false;
        bool says_no_results = false;
        std::size_t rows = 0;
    };

    void read_line(std::string_view text) {
        if (text == kTitle) {
            end_section();
            most_rows_ = 0;
            run_ = {.block = run_.block + 1};
        } else if (text.starts_with("## ")) {
            begin_section(text);
        } else if (text.starts_with("**")) {
            read_setting(text);
        } else if (text.find('|') != std::string_view::npos) {
            read_table_line(text);
        } else if (text == "No results." && section_) {
            section_->says_no_results = true;
        } else if (text.find_first_not_of('-') != std::string_view::npos) {
            place_.fail("cannot read this line", "the file may be cut off, or take out what the script did not write");
        }
    }

    void read_setting(std::string_view text) {
        const std::size_t end = text.find(":**");
        if (end == std::string_view::npos)
            place_.fail("cannot read this line", "expected `**Name:** value`; the file may be cut off");
        const std::string name = lower(text.substr(2, end - 2));
        const std::string value(trim(text.substr(end + 3)));
        if (name == "world size") run_.world_size = place_.world_size(value);
        if (name == "hidden dimension") run_.hidden_dim = place_.hidden_dim(value);
        if (name == "benchmark trials")
            run_.trials = static_cast<int>(place_.integer("benchmark trials", value, 1, kMostTrials));
        if (name == "quantization mode" || name == "quantization modes") read_quants(value);
        if (name == "input size" && section_) section_->input_mib = value;
    }

    void read_quants(const std::string& value) {
        run_.quants.clear();
        for (const std::string_view part : split(value, ',')) {
            std::string word = lower(trim(part));
            if (word == "all" || word == "n/a") continue;
            if (word.ends_with("_only")) word.resize(word.size() - 5);
            const auto quant = parse_quant(word);
            if (!quant) place_.fail("quantization mode `" + word + "` is unknown", "expected none, fp8, fp4 or all");
            run_.quants.push_back(*quant);
        }
    }

    void begin_section(std::string_view text) {
        end_section();
        constexpr std::string_view kBegin = "## Configuration:";
        const std::vector<std::string_view> parts =
            split(text.starts_with(kBegin) ? text.substr(kBegin.size()) : "", ',');
        std::vector<std::string_view> values; // of "key=value", else the part itself
        for (const std::string_view part : parts) values.push_back(trim(part.substr(part.find('=') + 1)));
        const bool residual = values.back() == "with residual";
        if (parts.size() != 3 || !trim(parts[1]).starts_with("dtype=") || (!residual && values.back() != "no residual"))
            place_.fail("cannot read this heading", "expected `## Configuration: " + std::string(dialect_.tokens_key) +
                                                        "=N, dtype=T, with residual`; the file may be cut off");
        if (trim(parts[0]).substr(0, trim(parts[0]).find('=')) != dialect_.tokens_key)
            place_.fail(shown(trim(parts[0])) + " is not what " + std::string(dialect_.format) + " writes",
                        "use --from vllm for num_tokens=N, --from sglang for seq_len=N");
        if (run_.world_size == 0 || run_.hidden_dim == 0)
            place_.fail("no `**World Size:**` or no `**Hidden Dimension:**` above", "put the file's head back");
        section_ = Section{.line = place_.line,
                           .num_tokens = place_.num_tokens(values[0]),
                           .dtype = place_.dtype(values[1]),
                           .pattern = residual ? Pattern::allreduce_residual_rmsnorm : Pattern::allreduce_rmsnorm};
    }

    void end_section() {
        if (!section_) return;
        const Place heading{file_, section_->line};
        if (section_->rows == 0 && !section_->says_no_results)
            heading.fail("has no rows below it",
                         "the file is cut off: run the benchmark again or take the heading out");
        if (section_->rows < most_rows_ && !section_->says_no_results)
            result_.notes.push_back("line " + std::to_string(section_->line) + ": " + std::to_string(section_->rows) +
                                    " rows, others of this run have " + std::to_string(most_rows_) +
                                    "; is the file cut off?");
        most_rows_ = std::max(most_rows_, section_->rows);
        section_.reset();
    }

    void read_table_line(std::string_view text) {
        if (!section_) place_.fail("a table row above all configurations", "put its `## Configuration:` line back");
        std::vector<std::string_view> cells = split(text, '|');
        // "| a | b | c |" splits into 5, the outer two empty
        if (cells.size() != 5 || !cells.front().empty() || !cells.back().empty())
            place_.fail("not a row of three columns", "the file may be cut off: correct the row or take it out");
        for (std::string_view& cell : cells) cell = trim(cell);
        if (cells[1] == "Operation") {
            if (cells[2] != "Time (ms)") place_.fail("second column is " + shown(cells[2]), "expected `Time (ms)`");
            section_->has_header = true;
        } else if (!cells[1].empty() && cells[1].find_first_not_of(":-") == std::string_view::npos) {
            return; // the line between header and body
        } else {
            if (!section_->has_header) place_.fail("a row above the table's header", "put the header back");
            add_row(cells[1], cells[2]);
        }
    }

    void add_row(std::string_view operation, std::string_view time) {
        const std::string full_name = algorithm_name(operation, place_);
        std::vector<std::string_view> words = words_of(full_name);
        const Quant quant = take_quant(words, place_);
        if (!run_.quants.empty() && std::find(run_.quants.begin(), run_.quants.end(), quant) == run_.quants.end())
            place_.fail("an operation of quant mode " + std::string(to_string(quant)) +
                            ", which the file's head does not list",
                        "correct the row or the head");
        ResultRow row{.line = place_.line,
                      .block = run_.block,
                      .point = {.cell = {.pattern = section_->pattern,
                                         .dtype = section_->dtype,
                                         .quant = quant,
                                         .world_size = run_.world_size},
                                .hidden_dim = run_.hidden_dim,
                                .num_tokens = section_->num_tokens},
                      .time = std::string(time),
                      .replays = run_.trials};
        check_input_size(row.point);
        name_algorithm(row, words);
        result_.rows.push_back(std::move(row));
        ++section_->rows;
    }

    /// "8.00 MB" is MiB of one rank's input, to two decimals.
    void check_input_size(const Point& point) const {
        if (section_->input_mib.empty()) return;
        std::istringstream said(section_->input_mib);
        double mib = 0;
        std::string unit;
        const double actual = static_cast<double>(message_bytes(point)) / (1 << 20);
        if (!(said >> mib >> unit) || unit != "MB" || mib < actual - 0.0051 || mib > actual + 0.0051)
            Place{file_, section_->line}.fail("input size is `" + section_->input_mib + "`, but " + to_string(point) +
                                                  " has " + std::to_string(message_bytes(point)) + " bytes",
                                              "correct the file");
    }

    void name_algorithm(ResultRow& row, std::span<const std::string_view> words) const {
        const std::string name = algorithm_name(joined(words, "_"), place_);
        if (std::find(std::begin(kSeparate), std::end(kSeparate), name) != std::end(kSeparate)) {
            row.algorithm = algorithm::nccl_separate;
        } else if (name.starts_with("standard_allreduce") && name.ends_with("_native_compiled")) {
            row.algorithm = algorithm::nccl_fused_norm;
        } else if (const auto fused = std::find(words.begin(), words.end(), "fused");
                   words.front() == "flashinfer" && fused != words.end()) {
            // "flashinfer_fused_…", without a library's name, is from before there was a second one.
            const std::string backend = joined(std::span(words.begin() + 1, fused), "_");
            name_flashinfer_kernel(row, backend.empty() ? "trtllm" : backend, words.back(), options_, place_);
        } else {
            row.algorithm = name;
        }
    }

    const std::string& file_;
    const ImportOptions& options_;
    Dialect dialect_;
    ResultFile result_;
    Place place_;
    Run run_;
    std::optional<Section> section_;
    std::size_t most_rows_ = 0; // in one section of this run
};

} // namespace

ResultFile read_vllm(std::string_view text, const std::string& file, const ImportOptions& options) {
    return Reader(file, options, {.tokens_key = "num_tokens", .format = "vllm"}).read(text);
}

ResultFile read_sglang(std::string_view text, const std::string& file, const ImportOptions& options) {
    return Reader(file, options, {.tokens_key = "seq_len", .format = "sglang"}).read(text);
}

} // namespace crossover::importers
