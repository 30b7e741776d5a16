#pragma once
/// A candidate that crashes or hangs takes its rank process with it. Ranks therefore keep on disk which candidate is at
/// work; when a session fails, the driver process reads who it was, and the session begins again without it at that
/// point. What had been measured is kept, so only the trials in flight are repeated. No CUDA here.

#include "comm/descriptor.hpp"
#include "comm/launch.hpp"
#include "tuner/samples/sample.hpp"

#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace crossover {

enum class Phase : std::uint8_t { load, set_up, check, timing, tear_down };
inline constexpr std::array kPhases{Named<Phase>{Phase::load, "load"}, Named<Phase>{Phase::set_up, "set-up"},
                                    Named<Phase>{Phase::check, "check"}, Named<Phase>{Phase::timing, "timing"},
                                    Named<Phase>{Phase::tear_down, "tear-down"}};
constexpr std::string_view to_string(Phase phase) { return detail::name_in(kPhases, phase); }

/// A candidate at work. Of fixed size: it goes into files as it is.
struct InFlight {
    std::array<char, 48> candidate{}; // its name, zero-terminated; empty: none
    Point point;                      // says nothing when it is loaded
    Phase phase = Phase::check;
    bool timed_out = false; // seen by the rank itself

    std::string_view name() const { return candidate.data(); }
};

/// Which candidates are at work on this rank, on disk as long as they are.
class InFlightFile {
  public:
    /// More candidates than this at once are not written.
    static constexpr std::size_t kMost = 8;

    /// @param folder  of the session's files; empty: nothing is written
    InFlightFile(const std::filesystem::path& folder, int rank);
    InFlightFile(const InFlightFile&) = delete;
    InFlightFile& operator=(const InFlightFile&) = delete;

    /// Until the end of the scope, in the place of those of a scope around it. An exception that leaves it leaves the
    /// entry, too: then they are to blame.
    class Scope {
      public:
        Scope(InFlightFile& file, Phase phase, const Point& point, std::span<const std::string> candidates);
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;
        ~Scope();

      private:
        InFlightFile& file_;
        std::array<InFlight, kMost> around_;
        int exceptions_;
    };
    /// Adds to the entry, before the process ends, that a wait for other ranks timed out.
    void mark_timed_out();

  private:
    void write() const;

    Descriptor descriptor_;
    std::array<InFlight, kMost> entries_{};
};

/// What a rank had at work when it ended.
std::vector<InFlight> read_in_flight(const std::filesystem::path& folder, int rank);

/// `run_apart` accuses several that were at work together: they are timed one after the other, then it shows who it is.
enum class Sentence : std::uint8_t { failed, timed_out, run_apart };

/// What a failed session says of a candidate. Of fixed size, too.
struct Verdict {
    InFlight at;
    Sentence sentence = Sentence::failed;
    std::array<char, 168> note{}; // "check: rank 1 was killed by signal 11 (Segmentation fault)"
};

/// A candidate is given up after it has failed at this many points: each costs a session's start, or 1 to 2 minutes.
inline constexpr int kMostFailures = 3;

/// The candidates to blame for a failed session; none if it is not a candidate's doing.
/// @param in_flight  by rank, as far as they are known here
std::vector<Verdict> blame(const RankFailure& failure, const std::map<int, std::vector<InFlight>>& in_flight,
                           std::span<const Verdict> so_far);

/// What becomes of a candidate that is not run at a point.
struct Exclusion {
    SampleStatus status = SampleStatus::failed;
    std::string note;
};
/// Why `candidate` is not to be run at this point, or nothing.
std::optional<Exclusion> exclusion(std::span<const Verdict> verdicts, std::string_view candidate, const Point& point);
/// Whether nothing has happened when `candidate` was loaded: else it is left out altogether.
bool may_load(std::span<const Verdict> verdicts, std::string_view candidate);
/// Whether candidates are to be timed one after the other at this point.
bool run_apart(std::span<const Verdict> verdicts, const Point& point);

/// The verdicts of the sessions so far; none if there is no file.
std::vector<Verdict> read_verdicts(const std::filesystem::path& folder);

/// supervise_ranks(), whose failure names the candidates that were at work.
std::optional<RankFailure> supervise_once(const RankJob& job, const std::filesystem::path& folder);

/// supervise_ranks() again and again, as long as a candidate is to blame: `folder` holds what the ranks have in flight
/// and, for them to read, the verdicts, of earlier sessions too. Says on stderr what it does.
/// @param job        of all ranks
/// @param next_port  where they meet; called for each attempt
/// @returns nothing if the ranks ended well, else a failure that is nobody's but ours
std::optional<RankFailure> supervise_session(RankJob job, const std::filesystem::path& folder,
                                             const std::function<int()>& next_port);

} // namespace crossover
