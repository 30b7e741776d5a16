#include "tuner/samples/journal.hpp"

#include "tuner/error.hpp"
#include "tuner/parse_number.hpp"
#include "tuner/read_file.hpp"
#include "tuner/write_atomically.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <list>
#include <numeric>
#include <string_view>
#include <sys/file.h>
#include <system_error>
#include <tuple>

namespace crossover {

const char* const kSamplesHeader =
    "session,sku,compute_capability,world_size,pattern,dtype,quant,hidden_dim,num_tokens,"
    "message_bytes,algorithm,latency_us,p10_us,p90_us,replays,rel_error,status,note";

namespace {

// ---- reading ----

/// Splits a line at its commas, quoted fields as in RFC 4180. The fields lie in the line or, where quotes were doubled,
/// in `unquoted`. False if a quote is not closed, or not before a comma.
bool split(std::string_view line, std::vector<std::string_view>& fields, std::list<std::string>& unquoted) {
    fields.clear();
    unquoted.clear();
    for (std::size_t at = 0;; ++at) { // at: the first character of a field
        if (at == line.size() || line[at] != '"') {
            const std::size_t comma = std::min(line.find(',', at), line.size());
            fields.push_back(line.substr(at, comma - at));
            at = comma;
        } else {
            std::string& field = unquoted.emplace_back();
            for (++at;; ++at) {
                const std::size_t quote = line.find('"', at);
                if (quote == std::string_view::npos) return false;
                field.append(line, at, quote - at);
                at = quote + 1;
                if (at == line.size() || line[at] != '"') break;
                field.push_back('"');
            }
            if (at < line.size() && line[at] != ',') return false;
            fields.push_back(field);
        }
        if (at == line.size()) return true;
    }
}

/// One line of samples.csv after the other, as samples.
class SampleParser {
  public:
    explicit SampleParser(std::string file) : file_(std::move(file)) { split(kSamplesHeader, names_, unquoted_); }

    Sample parse(std::string_view line, std::size_t line_number) {
        line_number_ = line_number;
        if (!split(line, fields_, unquoted_)) fail("a quoted field has no closing quote", kCorrect);
        if (fields_.size() != names_.size())
            fail("the row has " + std::to_string(fields_.size()) + " fields instead of " +
                     std::to_string(names_.size()),
                 kCorrect);
        column_ = 0;

        Sample sample;
        sample.session = number<int>(0);
        sample.sku = text();
        sample.compute_capability = text();
        sample.point.cell.world_size = number<int>(2);
        sample.point.cell.pattern = word(parse_pattern);
        sample.point.cell.dtype = word(parse_dtype);
        sample.point.cell.quant = word(parse_quant);
        sample.point.hidden_dim = number<std::int64_t>(1);
        sample.point.num_tokens = number<std::int64_t>(1);
        const auto bytes = number<std::uint64_t>(1);
        if (bytes != message_bytes(sample.point))
            fail("message_bytes is " + std::to_string(bytes) + ", but num_tokens x hidden_dim x element size is " +
                     std::to_string(message_bytes(sample.point)),
                 kCorrect);
        sample.algorithm = text();
        if (sample.algorithm.empty() || sample.algorithm == algorithm::not_measured)
            fail("algorithm is `" + sample.algorithm + "`", "write the algorithm's name");
        sample.latency_us = number<double>(0);
        sample.p10_us = number<double>(0);
        sample.p90_us = number<double>(0);
        sample.replays = number<int>(0);
        sample.rel_error = number<double>(0);
        sample.status = word(parse_sample_status);
        sample.note = text();
        if (sample.status == SampleStatus::ok && !(sample.latency_us > 0))
            fail("latency_us is 0 though the status is ok", "write a time, or failed");
        return sample;
    }

    [[noreturn]] void fail(std::size_t line_number, const std::string& what, const std::string& remedy) const {
        throw InputError(file_ + ":" + std::to_string(line_number), what, remedy);
    }

  private:
    static constexpr const char* kCorrect = "correct the line or delete it";

    [[noreturn]] void fail(const std::string& what, const std::string& remedy) const {
        fail(line_number_, what, remedy);
    }
    std::string_view text() { return fields_[column_++]; }

    template <class T>
    T number(T lowest) {
        const std::string_view digits = text();
        T value{};
        bool good = parse_number(digits, value) == std::errc{} && value >= lowest;
        if constexpr (std::is_floating_point_v<T>) good = good && std::isfinite(value);
        if (!good) fail(std::string(names_[column_ - 1]) + " is `" + std::string(digits) + "`", kCorrect);
        return value;
    }

    template <class E>
    E word(std::optional<E> (*parse)(std::string_view)) {
        const std::string_view name = text();
        const std::optional<E> value = parse(name);
        if (!value) fail("unknown " + std::string(names_[column_ - 1]) + " `" + std::string(name) + "`", kCorrect);
        return *value;
    }

    std::string file_;
    std::vector<std::string_view> names_, fields_;
    std::list<std::string> unquoted_; // a list: fields_ points into it
    std::size_t column_ = 0, line_number_ = 0;
};

/// A second sample of the same session, point and algorithm would take the place of the first in every fit. Line i + 2
/// holds samples[i].
void require_no_twins(std::span<const Sample> samples, const SampleParser& parser) {
    std::vector<std::size_t> order(samples.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto key = [&](std::size_t i) {
        return std::tie(samples[i].session, samples[i].point, samples[i].algorithm, samples[i].sku);
    };
    std::ranges::sort(order, [&](std::size_t a, std::size_t b) { return key(a) != key(b) ? key(a) < key(b) : a < b; });
    const auto twin = std::ranges::adjacent_find(order, [&](std::size_t a, std::size_t b) { return key(a) == key(b); });
    if (twin == order.end()) return;
    const Sample& sample = samples[*twin];
    parser.fail(twin[1] + 2,
                "two samples of " + to_string(sample.point) + " " + sample.algorithm + " in session " +
                    std::to_string(sample.session) + ", the other on line " + std::to_string(*twin + 2),
                "keep one");
}

enum class CutOffRow : std::uint8_t { error, dropped };

struct Contents {
    std::vector<Sample> samples;
    std::size_t whole_bytes = 0; // up to and with the last line end
};

Contents parse_contents(std::string_view text, const std::string& file, CutOffRow cut_off) {
    SampleParser parser(file);
    Contents contents;
    contents.samples.reserve(static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')));
    std::size_t at = byte_order_mark_size(text); // spreadsheets write one
    for (std::size_t line_number = 1; at < text.size(); ++line_number) {
        const std::string_view rest = text.substr(at);
        const std::size_t end = rest.find('\n');
        if (end == std::string_view::npos) {
            const bool may_be_header = line_number > 1 || std::string_view(kSamplesHeader).starts_with(rest);
            if (cut_off == CutOffRow::dropped && may_be_header) break;
            parser.fail(line_number, "the last row is cut off (it has no line end)",
                        "delete it, or continue the run with `crossover tune --resume`");
        }
        std::string_view line = rest.substr(0, end);
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (line_number > 1)
            contents.samples.push_back(parser.parse(line, line_number));
        else if (line != kSamplesHeader)
            parser.fail(1, "not the header of a samples file",
                        "begin the file with `" + std::string(kSamplesHeader) + "`");
        at += end + 1;
        contents.whole_bytes = at;
    }
    if (contents.whole_bytes == 0 && cut_off == CutOffRow::error)
        parser.fail(1, "the file is empty", "name a samples.csv that holds samples");
    require_no_twins(contents.samples, parser);
    return contents;
}

// ---- writing ----

void append_text(std::string& row, std::string_view text) {
    if (text.find_first_of(",\"\r\n") == std::string_view::npos) {
        row.append(text);
        return;
    }
    row.push_back('"');
    for (const char c : text) {
        if (c == '"') row.push_back('"');
        row.push_back(c == '\r' || c == '\n' ? ' ' : c);
    }
    row.push_back('"');
}

/// The shortest digits that read back as the same number.
template <class T>
void append_number(std::string& row, T value) {
    std::array<char, 32> digits;
    row.append(digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr);
}

std::string to_csv(std::span<const Sample> samples) {
    std::string text;
    for (const Sample& sample : samples) text.append(to_csv_row(sample)).push_back('\n');
    return text;
}

[[noreturn]] void fail_to_write(const std::filesystem::path& path) {
    throw InputError(path.string(), "cannot write samples: " + std::generic_category().message(errno),
                     "make room or name a folder that you may write to, then continue with --resume");
}

} // namespace

std::vector<Sample> read_samples(const std::filesystem::path& path) {
    return parse_samples(read_file(path, "the samples"), path.string());
}

std::vector<Sample> parse_samples(const std::string& text, const std::string& where) {
    return parse_contents(text, where, CutOffRow::error).samples;
}

std::string samples_csv(std::span<const Sample> samples) {
    return std::string(kSamplesHeader) + "\n" + to_csv(samples);
}

std::string to_csv_row(const Sample& sample) {
    std::string row;
    const auto number = [&row](auto value) { append_number(row, value), row.push_back(','); };
    const auto text = [&row](std::string_view value) { append_text(row, value), row.push_back(','); };
    number(sample.session);
    text(sample.sku);
    text(sample.compute_capability);
    number(sample.point.cell.world_size);
    text(to_string(sample.point.cell.pattern));
    text(to_string(sample.point.cell.dtype));
    text(to_string(sample.point.cell.quant));
    number(sample.point.hidden_dim);
    number(sample.point.num_tokens);
    number(message_bytes(sample.point));
    text(sample.algorithm);
    number(sample.latency_us);
    number(sample.p10_us);
    number(sample.p90_us);
    number(sample.replays);
    number(sample.rel_error);
    text(to_string(sample.status));
    append_text(row, sample.note);
    return row;
}

void write_samples(const std::filesystem::path& path, std::span<const Sample> samples) {
    write_atomically(path, samples_csv(samples));
}

Journal::File Journal::open_locked(const std::filesystem::path& path) {
    File file(std::fopen(path.c_str(), "abe"));
    if (!file) fail_to_write(path);
    // Held until the file is closed. Some network file systems have no locks; they get none.
    if (::flock(::fileno(file.get()), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        throw InputError(path.string(), "another run is writing it", "wait for it, or name another folder");
    return file;
}

void Journal::clear(const std::filesystem::path& path) {
    const File file = open_locked(path);
    if (::ftruncate(::fileno(file.get()), 0) != 0) fail_to_write(path);
}

Journal::Journal(const std::filesystem::path& path, bool resume) : path_(path), file_(open_locked(path)) {
    Contents contents = parse_contents(read_file(path_, "the samples"), path_.string(), CutOffRow::dropped);
    if (!resume && !contents.samples.empty())
        throw InputError(path_.string(), "holds " + std::to_string(contents.samples.size()) + " samples already",
                         "continue that run with --resume, or name another folder with --out");
    existing_ = std::move(contents.samples);
    if (::ftruncate(::fileno(file_.get()), static_cast<off_t>(contents.whole_bytes)) != 0) fail_to_write(path_);
    if (contents.whole_bytes == 0) write(std::string(kSamplesHeader) + "\n");
}

void Journal::append(std::span<const Sample> samples) { write(to_csv(samples)); }

void Journal::write(const std::string& text) {
    if (std::fwrite(text.data(), 1, text.size(), file_.get()) != text.size() || std::fflush(file_.get()) != 0)
        fail_to_write(path_);
}

} // namespace crossover
