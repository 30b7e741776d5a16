// Loading the libraries of a config in a rank process. The libraries are those of tests/plugins.

#include "tests/support/command.hpp"
#include "tuner/error.hpp"
#include "tuner/plugins/session.hpp"

#include <doctest/doctest.h>

#include <csignal>

#include <sys/wait.h>
#include <unistd.h>

using namespace crossover;

namespace {

PluginInfo info_of(const std::string& name, const std::string& library) {
    const std::string path = CROSSOVER_PLUGIN_DIR "/" + library + ".so";
    PluginInfo info;
    info.name = name;
    info.library = path;
    info.checksum = plugin_checksum(path);
    return info;
}

Config config_with(const std::vector<PluginInfo>& candidates) {
    Config config;
    config.candidates = candidates;
    return config;
}

} // namespace

TEST_CASE("the candidates of a config are found in its libraries") {
    const test::TemporaryFolder folder;
    const PluginSession session(config_with({info_of("acme_oneshot", "pair"), info_of("acme_twoshot", "pair"),
                                             info_of("acme_unfused", "other")}),
                                folder.path(), 0);
    REQUIRE(session.candidates.size() == 3);
    CHECK(session.libraries.size() == 2);
    CHECK(session.candidates.at("acme_twoshot")->role == CROSSOVER_CANDIDATE_TWOSHOT);
    CHECK(read_in_flight(folder.path(), 0).empty());
}

TEST_CASE("a library that has changed is refused and blames nobody") {
    const test::TemporaryFolder folder;
    PluginInfo other_build = info_of("acme_oneshot", "good");
    other_build.checksum = "0123456789abcdef";
    CHECK_THROWS_AS(PluginSession(config_with({other_build}), folder.path(), 0), InputError);
    CHECK(read_in_flight(folder.path(), 0).empty());
}

TEST_CASE("a library that crashes while a rank loads it is left out of the session that begins again") {
    const test::TemporaryFolder folder;
    const Config config = config_with(
        {info_of("acme_oneshot", "good"), info_of("acme_crash", "crashes"), info_of("acme_crash_too", "crashes")});
    const pid_t child = ::fork();
    if (child == 0) {
        ::signal(SIGABRT, SIG_DFL); // not doctest's report
        const PluginSession session(config, folder.path(), 0);
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    REQUIRE(WIFSIGNALED(status));
    const std::vector<InFlight> left = read_in_flight(folder.path(), 0);
    REQUIRE(left.size() == 2);
    CHECK(left[0].name() == "acme_crash");
    CHECK(left[1].name() == "acme_crash_too");
    CHECK(left[0].phase == Phase::load);

    // The same to the supervisor, by a shell that leaves the file and dies.
    std::filesystem::copy_file(folder.path() / "in_flight.0", folder.path() / "crash");
    const RankJob job{.program = "/bin/sh",
                      .arguments = {"-c", "cd $1; test -e verdicts && exit 0; cp crash in_flight.0; kill -ABRT $$",
                                    "sh", folder.path().string()},
                      .ranks = {{0, 0}}};
    CHECK_FALSE(supervise_session(job, folder.path(), [] { return 20000; }));
    const PluginSession again(config, folder.path(), 0);
    CHECK(again.candidates.size() == 1);
    CHECK(again.candidates.contains("acme_oneshot"));
    CHECK(again.libraries.size() == 1);
}
