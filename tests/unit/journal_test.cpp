#include "tests/support/command.hpp"
#include "tests/support/recordings.hpp"
#include "tuner/error.hpp"
#include "tuner/samples/journal.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <csignal>
#include <sys/resource.h>

using namespace crossover;
using test::read_text;
using test::TemporaryFolder;

namespace {

Sample sample_of(std::int64_t num_tokens, const std::string& note = "") {
    Sample sample;
    sample.session = 1;
    sample.sku = "NVIDIA H200";
    sample.compute_capability = "9.0";
    sample.point = {{Pattern::allreduce_residual_rmsnorm, DType::bfloat16, Quant::fp8, 8}, 8192, num_tokens};
    sample.algorithm = "nccl_symm_fused_norm";
    sample.latency_us = 4.1;
    sample.p10_us = 4.0;
    sample.p90_us = 1.0 / 3;
    sample.replays = 15;
    sample.rel_error = 2.9e-3;
    sample.note = note;
    return sample;
}

std::vector<Sample> three() {
    Sample skipped = sample_of(3, "too large for the workspace: 1,024 B, says \"kernels\"");
    skipped.status = SampleStatus::skipped;
    skipped.latency_us = skipped.p10_us = skipped.p90_us = skipped.rel_error = 0;
    skipped.replays = 0;
    return {sample_of(1), sample_of(2, "clusters=4 µs"), skipped};
}

const std::string kRow = "0,GPU,9.0,2,allreduce,bfloat16,none,8,4,64,oneshot,1.5,1.4,1.6,15,0.001,ok,";

/// The error of a file with these rows below the header, without its place, which must be `line`.
std::string error_of(const std::string& rows, int line) {
    const TemporaryFolder folder;
    const std::string path = folder.write("samples.csv", std::string(kSamplesHeader) + "\n" + rows);
    try {
        read_samples(path);
    } catch (const InputError& error) {
        const std::string what = error.what(), place = path + ":" + std::to_string(line) + ": ";
        CHECK_MESSAGE(what.rfind(place, 0) == 0, what);
        CHECK(what.find('\n') == std::string::npos);
        return what.substr(std::min(what.size(), place.size()));
    }
    return "no error";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const auto at = text.find(from);
    REQUIRE_MESSAGE(at != std::string::npos, from);
    return text.replace(at, from.size(), to);
}

} // namespace

TEST_CASE("samples survive the file, bit for bit") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "samples.csv";
    write_samples(path, three());
    CHECK(read_samples(path) == three());
    CHECK(to_csv_row(three()[0]) == "1,NVIDIA H200,9.0,8,allreduce_residual_rmsnorm,bfloat16,fp8,8192,1,16384,"
                                    "nccl_symm_fused_norm,4.1,4,0.3333333333333333,15,0.0029,ok,");
    CHECK(to_csv_row(three()[2])
              .ends_with(",0,0,0,0,0,skipped,\"too large for the workspace: 1,024 B, says \"\"kernels\"\"\""));

    const std::vector<Sample> many = test::small_samples(test::small_config());
    write_samples(path, many);
    CHECK(read_samples(path) == many);
}

TEST_CASE("a row is a line, whatever the note") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "samples.csv";
    write_samples(path, std::vector{sample_of(1, "CUDA error\nat a.cu:3\r\nhere")});
    CHECK(read_samples(path).at(0).note == "CUDA error at a.cu:3  here");
    CHECK(std::ranges::count(read_text(path), '\n') == 2);
}

TEST_CASE("Windows line ends") {
    const TemporaryFolder folder;
    const std::string text = std::string(kSamplesHeader) + "\r\n" + kRow + "\r\n1" + kRow.substr(1) + "\"a,b\"\r\n";
    const std::vector<Sample> samples = read_samples(folder.write("samples.csv", text));
    REQUIRE(samples.size() == 2);
    CHECK(samples[0].note == "");
    CHECK(samples[1].note == "a,b");
}

TEST_CASE("malformed rows") {
    const auto check = [](const std::string& from, const std::string& to, const std::string& what) {
        CHECK(error_of(kRow + "\n" + replaced(kRow, from, to) + "\n", 3) == what + "; correct the line or delete it");
    };
    check(",ok,", ",ok", "the row has 17 fields instead of 18");
    check(",ok,", ",ok,,", "the row has 19 fields instead of 18");
    check("0,GPU", "-1,GPU", "session is `-1`");
    check("GPU,9.0,2", "GPU,9.0,1", "world_size is `1`");
    check("allreduce,", "all_reduce,", "unknown pattern `all_reduce`");
    check("bfloat16", "bf16", "unknown dtype `bf16`");
    check("none", "fp6", "unknown quant `fp6`");
    check(",8,4,", ",0,4,", "hidden_dim is `0`");
    check(",8,4,", ",8,-4,", "num_tokens is `-4`");
    check(",64,", ",128,", "message_bytes is 128, but num_tokens x hidden_dim x element size is 64");
    check(",1.5,", ",nan,", "latency_us is `nan`");
    check(",1.5,", ",inf,", "latency_us is `inf`");
    check(",1.5,", ",1.5us,", "latency_us is `1.5us`");
    check(",1.4,", ",-1,", "p10_us is `-1`");
    check(",ok,", ",good,", "unknown status `good`");
    check(",ok,", ",ok,\"open", "a quoted field has no closing quote");
    check(",ok,", ",ok,\"a\"b", "a quoted field has no closing quote");
    CHECK(error_of(replaced(kRow, ",1.5,", ",0,") + "\n", 2) ==
          "latency_us is 0 though the status is ok; write a time, or failed");
    CHECK(error_of(replaced(kRow, "oneshot", "") + "\n", 2) == "algorithm is ``; write the algorithm's name");
    CHECK(error_of(kRow + "\n\n" + kRow + "\n", 3) ==
          "the row has 1 fields instead of 18; correct the line or delete it");
}

TEST_CASE("two samples of one algorithm at one point in one session") {
    const std::string other_session = replaced(kRow, "0,GPU", "1,GPU"), other_gpu = replaced(kRow, "GPU", "GPU2"),
                      other_size = replaced(kRow, ",8,4,64,", ",8,8,128,"),
                      other_algorithm = replaced(kRow, "oneshot", "twoshot"), again = replaced(kRow, ",1.5,", ",1.45,");
    const std::string rows =
        other_size + "\n" + kRow + "\n" + other_session + "\n" + other_gpu + "\n" + other_algorithm + "\n";
    CHECK(error_of(rows, 0) == "no error");
    CHECK(error_of(rows + again + "\n" + kRow + "\n", 7) ==
          "two samples of n=2 allreduce bfloat16 none 4x8 oneshot in session 0, the other on line 3; keep one");
    const TemporaryFolder folder;
    const std::string path = folder.write("samples.csv", std::string(kSamplesHeader) + "\n" + rows + again + "\n");
    CHECK_THROWS_AS(Journal(path, true), InputError);
}

TEST_CASE("a byte order mark is no part of the header") {
    const TemporaryFolder folder;
    const std::string mark = "\xEF\xBB\xBF", text = mark + std::string(kSamplesHeader) + "\n" + kRow + "\n";
    const std::string path = folder.write("samples.csv", text + kRow.substr(0, 30));
    CHECK(Journal(path, true).existing().size() == 1);
    CHECK(read_text(path) == text); // but for the row that is cut off
    CHECK(read_samples(path).size() == 1);
    folder.write("samples.csv", mark);
    CHECK_THROWS_AS(read_samples(path), InputError);
    CHECK(Journal(path, true).existing().empty());
    CHECK(read_text(path) == std::string(kSamplesHeader) + "\n");
}

TEST_CASE("files that are no samples") {
    const TemporaryFolder folder;
    CHECK_THROWS_AS(read_samples(folder.path() / "none.csv"), InputError);
    CHECK_THROWS_AS(read_samples(folder.path()), InputError);
    CHECK_THROWS_AS(read_samples(folder.write("empty.csv", "")), InputError);
    CHECK_THROWS_AS(read_samples(folder.write("other.csv", "world,hidden,tokens\n2,3,4\n")), InputError);
    // What is no samples file is not appended to, either, nor changed.
    for (const std::string text : {"world,hidden,tokens\n2,3,4\n", "precious text without a line end"}) {
        const std::string path = folder.write("other.csv", text);
        for (const bool resume : {false, true}) CHECK_THROWS_AS(Journal(path, resume), InputError);
        CHECK(read_text(path) == text);
    }
}

TEST_CASE("a row cut off by a kill: an error when read, dropped when resumed") {
    const std::vector<Sample> whole = three();
    const std::string header = std::string(kSamplesHeader) + "\n";
    std::string text = header;
    std::vector<std::size_t> ends{text.size()};
    for (const Sample& sample : whole) {
        text += to_csv_row(sample) + "\n";
        ends.push_back(text.size());
    }
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        CAPTURE(cut);
        const TemporaryFolder folder;
        const std::string path = folder.write("samples.csv", text.substr(0, cut));
        const auto rows = std::ranges::count_if(ends, [&](std::size_t end) { return end <= cut; }) - 1; // -1: no header
        if (std::ranges::find(ends, cut) != ends.end())
            CHECK(std::ssize(read_samples(path)) == rows);
        else
            CHECK_THROWS_AS(read_samples(path), InputError);

        const std::size_t kept = static_cast<std::size_t>(std::max<std::ptrdiff_t>(rows, 0));
        {
            Journal journal(path, true);
            CHECK(journal.existing() == std::vector(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(kept)));
            journal.append(std::span(whole).subspan(kept));
        }
        CHECK(read_text(path) == text);
    }
    CHECK(error_of(kRow + "\n" + kRow.substr(0, 30), 3) ==
          "the last row is cut off (it has no line end); "
          "delete it, or continue the run with `crossover tune --resume`");
}

TEST_CASE("a journal is on disk after each append, and never written over") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "samples.csv";
    {
        Journal journal(path, false);
        CHECK(journal.existing().empty());
        CHECK(read_samples(path).empty());
        const std::vector<Sample> samples = three();
        journal.append(std::span(samples).first(1));
        CHECK(read_samples(path).size() == 1);
        journal.append(std::span(samples).subspan(1));
        CHECK(read_samples(path) == samples);
        CHECK_THROWS_AS(Journal(path, true), InputError); // one writer at a time
    }
    const std::string message =
        path.string() + ": holds 3 samples already; continue that run with --resume, or name another folder with --out";
    CHECK_THROWS_WITH_AS(Journal(path, false), message.c_str(), InputError);
    CHECK(Journal(path, true).existing() == three());
    CHECK_THROWS_AS(Journal(folder.path() / "no" / "folder.csv", false), InputError);
}

TEST_CASE("a full disk is an error that says so, and what was written before can be resumed") {
    const TemporaryFolder folder;
    const auto path = folder.path() / "samples.csv";
    const std::vector<Sample> samples = test::small_samples(test::small_config());
    {
        Journal journal(path, false);
        std::signal(SIGXFSZ, SIG_IGN);
        rlimit unlimited{}, limited{};
        ::getrlimit(RLIMIT_FSIZE, &unlimited);
        limited = unlimited;
        limited.rlim_cur = 2000;
        ::setrlimit(RLIMIT_FSIZE, &limited);
        std::string message;
        try {
            journal.append(samples);
        } catch (const InputError& error) {
            message = error.what();
        }
        ::setrlimit(RLIMIT_FSIZE, &unlimited);
        CHECK(message.find("cannot write samples: File too large; make room") != std::string::npos);
    }
    const Journal resumed(path, true);
    REQUIRE(!resumed.existing().empty());
    CHECK(resumed.existing() == std::vector(samples.begin(), samples.begin() + std::ssize(resumed.existing())));
}
