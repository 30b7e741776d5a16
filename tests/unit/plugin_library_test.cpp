// Libraries of candidates: what is taken, what is refused, and that one which crashes while it is loaded does no harm.
// The libraries are those of tests/plugins.

#include "tests/support/command.hpp"
#include "tuner/error.hpp"
#include "tuner/plugins/library.hpp"

#include <doctest/doctest.h>

#include <elf.h>

using namespace crossover;

namespace {

const std::string kFolder = CROSSOVER_PLUGIN_DIR "/";
const Config kConfig = [] {
    Config config;
    config.world_sizes = {2, 8};
    config.max_message_bytes = std::uint64_t{1} << 20;
    config.workspace_limit_bytes = std::uint64_t{4} << 20;
    return config;
}();

/// What inspecting `path` says is wrong, without the path.
std::string refusal(const std::string& path) {
    try {
        inspect_library(path, kConfig);
    } catch (const InputError& error) {
        const std::string message = error.what();
        CHECK(message.starts_with(path + ": "));
        CHECK(message.find('\n') == std::string::npos);
        CHECK(message.find("; ") != std::string::npos); // the remedy
        return message.substr(path.size() + 2);
    }
    return {};
}

bool refused(const std::string& name, const std::string& beginning) {
    const std::string message = refusal(kFolder + name + ".so");
    CAPTURE(message);
    CHECK(message.starts_with(beginning));
    return message.starts_with(beginning);
}

} // namespace

TEST_CASE("a library tells name, role, version and workspace of its candidates") {
    const std::vector<PluginInfo> pair = inspect_library(kFolder + "pair.so", kConfig);
    REQUIRE(pair.size() == 2);
    CHECK(pair[0].name == "acme_oneshot");
    CHECK(pair[0].role == Role::oneshot);
    CHECK(pair[0].version == "1.4.2 (test)");
    CHECK(pair[0].library == std::filesystem::canonical(kFolder + "pair.so").string());
    CHECK(pair[1].name == "acme_twoshot");
    CHECK(pair[1].role == Role::twoshot);
    // It wants world size × message: 2 MiB of 2 ranks; of 8 ranks 8 MiB, which is above the limit, so half of it.
    CHECK(pair[0].workspace_bytes == std::map<int, std::uint64_t>{{2, 2 << 20}, {8, 4 << 20}});
    CHECK(inspect_library(kFolder + "other.so", kConfig).front().role == Role::unfused);
}

TEST_CASE("the checksum is that of the build") {
    const std::string good = plugin_checksum(kFolder + "good.so");
    CHECK(good.size() == 16);
    CHECK(good == inspect_library(kFolder + "good.so", kConfig).front().checksum);
    CHECK(good != plugin_checksum(kFolder + "other.so"));
}

TEST_CASE("any minor version is taken, another major one is not") {
    CHECK(inspect_library(kFolder + "newer_minor.so", kConfig).size() == 1);
    CHECK(
        refused("other_major", "candidate 0 speaks version 2.0 of the candidate interface, and this Crossover 1.0; "));
    CHECK(refused("smaller_struct", "candidate 0 has a struct_size of 8, less than version 1.0's "));
}

TEST_CASE("a file that is no library of this machine is refused before it is loaded") {
    const test::TemporaryFolder folder;
    CHECK(refusal(folder.write("text.so", "libacme")).starts_with("not a shared library; "));
    CHECK(refusal((folder.path() / "none.so").string()).find("No such file") != std::string::npos);

    std::string library = test::read_text(kFolder + "good.so");
    REQUIRE(library.size() > sizeof(Elf64_Ehdr));
    library[offsetof(Elf64_Ehdr, e_machine)] ^= 1; // some other processor's
    CHECK(refusal(folder.write("foreign.so", library)).starts_with("a shared library for another kind of processor; "));
    library[offsetof(Elf64_Ehdr, e_machine)] ^= 1;
    CHECK(refusal(folder.write("same.so", library)).empty());
    library.resize(library.size() / 4);
    CHECK(refusal(folder.write("cut.so", library)).find("loaded") != std::string::npos); // an error, or SIGBUS
}

TEST_CASE("a library without candidates that can be used is refused") {
    CHECK(refused("no_symbol", "has no function `crossover_candidate_get`; "));
    CHECK(refused("no_candidates", "has no candidates; "));
    CHECK(refused("endless", "has two candidates named `acme_oneshot`; "));
    CHECK(refused("twins", "has two candidates named `acme_oneshot`; "));
    CHECK(refused("own_name", "candidate 0 is named `oneshot`, which is an algorithm of Crossover; "));
    CHECK(refused("bad_name", "candidate 0 is named `Acme-1`, which is no lower-case letter"));
    CHECK(refused("bad_version", "candidate 0 has a version that is no line of 1 to 80 printable characters; "));
    CHECK(refused("bad_role", "candidate 0 has role 3; "));
    CHECK(refused("no_enqueue", "candidate 0 lacks a function; "));
}

TEST_CASE("one that crashes while it is loaded is refused, and this process goes on") {
    CHECK(refused("crashes", "was killed by signal 6 (Aborted) while it was loaded; "));
    CHECK(refused("exits", "ended the process while it was loaded; "));
}

TEST_CASE("names of candidates") {
    for (const char* good : {"a", "acme_allreduce_2", "oneshot_acme", "nccl2"}) CHECK_FALSE(bad_plugin_name(good));
    for (const char* bad : {"", "2stage", "_a", "Acme", "a b", "a,b", "a[b]", "nccl", "twoshot", "floor", "unfused",
                            "not_measured", "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddx"})
        CHECK_MESSAGE(bad_plugin_name(bad), bad);
}
