// Candidates that crash or hang: who is to blame, what is run again, and when it ends. The rank processes are /bin/sh
// scripts that leave the file of a candidate at work and then die.

#include "tests/support/command.hpp"
#include "tuner/plugins/isolation.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <map>

using namespace crossover;
using namespace std::chrono_literals;
using test::read_text;

namespace {

Point point(std::int64_t num_tokens, int world_size = 2) {
    return {.cell = {.world_size = world_size}, .hidden_dim = 4096, .num_tokens = num_tokens};
}

InFlight at_work(const std::string& name, const Point& where, Phase phase = Phase::check) {
    InFlight entry{.point = where, .phase = phase};
    std::copy(name.begin(), name.end(), entry.candidate.begin());
    return entry;
}

Verdict verdict(const std::string& name, const Point& where, Sentence sentence = Sentence::failed,
                Phase phase = Phase::check) {
    return {.at = at_work(name, where, phase), .sentence = sentence, .note = {"because"}};
}

const RankFailure kCrash{.kind = RankFailureKind::signalled, .rank = 1, .code = 11, .message = "rank 1 was killed"};
const RankFailure kExit{.kind = RankFailureKind::exited, .rank = 0, .code = 2, .message = "rank 0 exited"};
const RankFailure kSilence{.kind = RankFailureKind::no_progress, .rank = 0, .message = "no rank got on"};

/// A session of two shell ranks; $1 is `folder`.
struct Session : test::TemporaryFolder {
    RankJob job;
    int attempts = 0;

    explicit Session(const std::string& script) {
        job = {.program = "/bin/sh",
               .arguments = {"-c", "cd $1; echo x >> started.$RANK; " + script, "sh", path().string()},
               .ranks = {{0, 0}, {1, 1}},
               .world_size = 2,
               .local_size = 2,
               .grace = 200ms};
    }
    /// Writes what a rank would have in flight as a file that the script can copy.
    void prepare(const std::string& name, const Point& where, Phase phase, std::vector<std::string> candidates) const {
        std::filesystem::create_directories(path() / name);
        InFlightFile file(path() / name, 0);
        const InFlightFile::Scope scope(file, phase, where, candidates);
        std::filesystem::copy_file(path() / name / "in_flight.0", path() / (name + ".entry"));
    }
    std::optional<RankFailure> run() {
        return supervise_session(job, path(), [&] { return 20000 + attempts++; });
    }
    int started(int rank) const {
        const std::string text = read_text(path() / ("started." + std::to_string(rank)));
        return static_cast<int>(std::count(text.begin(), text.end(), 'x'));
    }
};

} // namespace

TEST_CASE("a rank's entry is there while its candidate is at work, and stays if that throws") {
    const test::TemporaryFolder folder;
    InFlightFile file(folder.path(), 3);
    CHECK(read_in_flight(folder.path(), 3).empty());
    {
        const InFlightFile::Scope scope(file, Phase::timing, point(64), std::vector<std::string>{"acme", "other"});
        const std::vector<InFlight> entries = read_in_flight(folder.path(), 3);
        REQUIRE(entries.size() == 2);
        CHECK(entries[0].name() == "acme");
        CHECK(entries[1].name() == "other");
        CHECK(entries[1].point == point(64));
        CHECK(entries[1].phase == Phase::timing);
        {
            const InFlightFile::Scope within(file, Phase::set_up, point(64), std::vector<std::string>{"other"});
            REQUIRE(read_in_flight(folder.path(), 3).size() == 1);
            CHECK(read_in_flight(folder.path(), 3).front().phase == Phase::set_up);
        }
        CHECK(read_in_flight(folder.path(), 3).size() == 2);
    }
    CHECK(read_in_flight(folder.path(), 3).empty());
    try {
        const InFlightFile::Scope scope(file, Phase::check, point(1), std::vector<std::string>{"acme"});
        throw std::runtime_error("a wait timed out");
    } catch (const std::runtime_error&) {
        file.mark_timed_out();
    }
    REQUIRE(read_in_flight(folder.path(), 3).size() == 1);
    CHECK(read_in_flight(folder.path(), 3).front().timed_out);
    CHECK(read_in_flight(folder.path(), 0).empty());
    InFlightFile nowhere({}, 0); // outside of sessions
    const InFlightFile::Scope scope(nowhere, Phase::check, point(1), std::vector<std::string>{"acme"});
}

TEST_CASE("the rank that crashed tells who is to blame, not one that works elsewhere") {
    const std::vector<Verdict> found =
        blame(kCrash, {{0, {at_work("other", point(8))}}, {1, {at_work("acme", point(4))}}}, {});
    REQUIRE(found.size() == 1);
    CHECK(found[0].at.name() == "acme");
    CHECK(found[0].at.point == point(4));
    CHECK(found[0].sentence == Sentence::failed);
    CHECK(found[0].note.data() == std::string("check: rank 1 was killed"));
}

TEST_CASE("a session that fails without a candidate at work is nobody's fault but ours") {
    CHECK(blame(kCrash, {{0, {}}, {1, {}}}, {}).empty());
    CHECK(blame(kCrash, {{0, {at_work("acme", point(4))}}, {1, {}}}, {}).empty()); // rank 1 crashed by itself
    RankFailure interrupted = kCrash;
    interrupted.kind = RankFailureKind::interrupted;
    CHECK(blame(interrupted, {{1, {at_work("acme", point(4))}}}, {}).empty());
}

TEST_CASE("a hang is a time-out, whoever noticed it") {
    const InFlight acme = at_work("acme", point(4));
    const std::vector<Verdict> silent = blame(kSilence, {{0, {acme}}, {1, {acme}}}, {});
    REQUIRE(silent.size() == 1);
    CHECK(silent[0].sentence == Sentence::timed_out);
    // Rank 0 has waited for the group of ranks 2 and 3 and given up: they have it in flight.
    const std::vector<Verdict> elsewhere = blame(kExit, {{0, {}}, {1, {}}, {2, {acme}}, {3, {acme}}}, {});
    REQUIRE(elsewhere.size() == 1);
    CHECK(elsewhere[0].sentence == Sentence::failed);
    InFlight waited = acme;
    waited.timed_out = true; // the rank said so before it ended
    CHECK(blame(kExit, {{0, {waited}}}, {}).at(0).sentence == Sentence::timed_out);
}

TEST_CASE("of two that were timed together, neither is condemned before each was by itself") {
    const std::vector<InFlight> both{at_work("acme", point(4), Phase::timing),
                                     at_work("other", point(4), Phase::timing)};
    const std::vector<Verdict> first = blame(kCrash, {{1, both}}, {});
    REQUIRE(first.size() == 2);
    CHECK(first[0].sentence == Sentence::run_apart);
    CHECK(run_apart(first, point(4)));
    CHECK_FALSE(run_apart(first, point(8)));
    CHECK_FALSE(exclusion(first, "acme", point(4)));

    const std::vector<Verdict> second = blame(kCrash, {{1, {both[1]}}}, first);
    REQUIRE(second.size() == 1);
    CHECK(second[0].at.name() == "other");
    CHECK(second[0].sentence == Sentence::failed);
    CHECK(blame(kCrash, {{1, both}}, first).empty()); // it would go on for ever
}

TEST_CASE("a candidate is left out where it failed, and everywhere after three points") {
    std::vector<Verdict> verdicts{verdict("acme", point(4)), verdict("acme", point(8), Sentence::timed_out)};
    CHECK(exclusion(verdicts, "acme", point(4))->status == SampleStatus::failed);
    CHECK(exclusion(verdicts, "acme", point(4))->note == "because");
    CHECK(exclusion(verdicts, "acme", point(8))->status == SampleStatus::timeout);
    CHECK_FALSE(exclusion(verdicts, "acme", point(16)));
    CHECK_FALSE(exclusion(verdicts, "other", point(4)));
    verdicts.push_back(verdict("acme", point(8))); // again the same point: still two
    CHECK_FALSE(exclusion(verdicts, "acme", point(16)));
    verdicts.push_back(verdict("acme", point(32)));
    REQUIRE(exclusion(verdicts, "acme", point(16)));
    CHECK(exclusion(verdicts, "acme", point(16))->status == SampleStatus::skipped);
    CHECK(exclusion(verdicts, "acme", point(16))->note.starts_with("given up after 3 points, the last n=2 "));
    CHECK(exclusion(verdicts, "acme", point(4))->status == SampleStatus::failed);
    CHECK_FALSE(exclusion(verdicts, "other", point(16)));
}

TEST_CASE("one that fails when it is set up is left out for that world size") {
    const std::vector<Verdict> verdicts{verdict("acme", point(4, 8), Sentence::failed, Phase::set_up)};
    CHECK(exclusion(verdicts, "acme", point(64, 8)));
    CHECK_FALSE(exclusion(verdicts, "acme", point(4, 2)));
}

TEST_CASE(
    "one that fails when it is loaded is left out altogether, and whatever else it has done tells nothing of that") {
    const InFlight loading = at_work("acme", {}, Phase::load);
    const std::vector<Verdict> before{verdict("acme", point(4, 8), Sentence::failed, Phase::set_up)};
    CHECK(may_load(before, "acme"));
    const std::vector<Verdict> verdicts = blame(kCrash, {{1, {loading, at_work("other", {}, Phase::load)}}}, before);
    REQUIRE(verdicts.size() == 2);
    CHECK(verdicts[0].sentence == Sentence::failed); // not to be run apart: they come together
    CHECK_FALSE(may_load(verdicts, "acme"));
    CHECK_FALSE(may_load(verdicts, "other"));
    CHECK(may_load(verdicts, "third"));
    CHECK(exclusion(verdicts, "acme", point(64, 2))->status == SampleStatus::failed);
    CHECK(exclusion(verdicts, "acme", point(64, 2))->note == "load: rank 1 was killed");
    CHECK(blame(kCrash, {{1, {loading}}}, verdicts).empty());
}

TEST_CASE("a session whose candidate crashes begins again without it") {
    Session session("if test -e verdicts; then exit 0; fi; "
                    "if test $RANK = 1; then until test -s started.0; do sleep 0.01; done; cp crash.entry in_flight.1; "
                    "kill -SEGV $$; fi; exec sleep 60");
    session.prepare("crash", point(4), Phase::check, {"acme"});
    CHECK_FALSE(session.run());
    CHECK(session.started(0) == 2);
    CHECK(session.attempts == 2); // another port each time
    const std::vector<Verdict> verdicts = read_verdicts(session.path());
    REQUIRE(verdicts.size() == 1);
    CHECK(exclusion(verdicts, "acme", point(4))->note == "check: rank 1 was killed by signal 11 (Segmentation fault)");
    CHECK(exclusion(verdicts, "acme", point(4))->status == SampleStatus::failed);
    // The next session knows.
    CHECK_FALSE(session.run());
    CHECK(session.started(0) == 3);
    CHECK(read_verdicts(session.path()).size() == 1);
}

TEST_CASE("a session whose candidate hangs is ended, and begins again without it") {
    Session session("if test -e verdicts; then exit 0; fi; cp hang.entry in_flight.$RANK; exec sleep 60");
    session.prepare("hang", point(4), Phase::timing, {"acme"});
    session.job.progress_limit = 3s; // a busy machine starts a shell in one
    CHECK_FALSE(session.run());
    CHECK(session.started(1) == 2);
    const std::vector<Verdict> verdicts = read_verdicts(session.path());
    REQUIRE(verdicts.size() == 1);
    CHECK(exclusion(verdicts, "acme", point(4))->status == SampleStatus::timeout);
    CHECK(exclusion(verdicts, "acme", point(4))->note.starts_with("timing: no rank got on for 3.0 s"));
}

TEST_CASE("of two at work together only the one that crashes by itself is left out") {
    // The first attempt has both, the second one alone; the third has none of them at that point.
    Session session("n=$(cat started.1 | wc -l); "
                    "if test $n = 1; then cp both.entry in_flight.1; kill -SEGV $$; fi; "
                    "if test $n = 2; then cp one.entry in_flight.1; kill -SEGV $$; fi; exit 0");
    session.prepare("both", point(4), Phase::timing, {"acme", "other"});
    session.prepare("one", point(4), Phase::timing, {"other"});
    session.job.ranks = {{1, 1}};
    CHECK_FALSE(session.run());
    CHECK(session.started(1) == 3);
    const std::vector<Verdict> verdicts = read_verdicts(session.path());
    CHECK_FALSE(exclusion(verdicts, "acme", point(4)));
    CHECK(exclusion(verdicts, "other", point(4)));
}

TEST_CASE("under a launcher the failure names the candidate") {
    Session session("cp crash.entry in_flight.$RANK; kill -SEGV $$");
    session.prepare("crash", point(4), Phase::check, {"acme"});
    session.job.ranks = {{1, 1}};
    const auto failure = supervise_once(session.job, session.path());
    REQUIRE(failure);
    CHECK(failure->message.ends_with("(Segmentation fault), with acme at work at " + to_string(point(4))));
    CHECK(session.started(1) == 1);
    CHECK(read_verdicts(session.path()).empty());
}

TEST_CASE("a session that fails by itself is not begun again, nor one that fails again all the same") {
    Session ours("exit 3");
    const auto failure = ours.run();
    REQUIRE(failure);
    CHECK(failure->code == 3);
    CHECK(ours.attempts == 1); // a rank may be ended before it has said that it started

    Session again("cp crash.entry in_flight.$RANK; kill -SEGV $$");
    again.prepare("crash", point(4), Phase::check, {"acme"});
    REQUIRE(again.run());
    CHECK(again.attempts == 2);
}
