#include "tuner/plugins/isolation.hpp"

#include "tuner/fixed_text.hpp"
#include "tuner/read_file.hpp"
#include "tuner/write_atomically.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <set>
#include <system_error>
#include <type_traits>
#include <unistd.h>

namespace crossover {
namespace {

namespace fs = std::filesystem;

constexpr const char* kVerdicts = "verdicts";

fs::path in_flight_path(const fs::path& folder, int rank) { return folder / ("in_flight." + std::to_string(rank)); }

template <class T>
std::vector<T> read_array(const fs::path& path) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (!fs::exists(path)) return {};
    const std::string bytes = read_file(path, "a session's state");
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
    return values;
}

bool is_at_point(const Verdict& verdict) {
    return verdict.at.phase == Phase::check || verdict.at.phase == Phase::timing;
}

/// Whether the candidate is not to be run at this point, for what it did there or before any.
bool reaches(const Verdict& verdict, const Point& point) {
    if (verdict.at.phase == Phase::load) return true;
    return is_at_point(verdict) ? verdict.at.point == point : verdict.at.point.cell.world_size == point.cell.world_size;
}

bool same_place(const InFlight& a, const InFlight& b) {
    if (a.name() != b.name()) return false;
    if (a.phase == Phase::load || b.phase == Phase::load) return a.phase == b.phase;
    const bool points = a.phase != Phase::set_up && a.phase != Phase::tear_down;
    return points ? a.point == b.point : a.point.cell.world_size == b.point.cell.world_size;
}

/// Where it was at work, as it goes on a candidate's name.
std::string place_of(const InFlight& at) {
    return at.phase == Phase::load ? " while it was loaded" : " at " + to_string(at.point);
}

/// Whose in_flight is believed: the rank that failed; where it waited for others, all.
std::vector<InFlight> suspects_of(const RankFailure& failure, const std::map<int, std::vector<InFlight>>& in_flight) {
    if (const auto found = in_flight.find(failure.rank); found != in_flight.end() && !found->second.empty())
        return found->second;
    std::vector<InFlight> all;
    if (failure.kind == RankFailureKind::signalled) return all; // it crashed by itself
    for (const auto& [rank, entries] : in_flight)
        for (const InFlight& entry : entries)
            if (std::ranges::none_of(all, [&](const InFlight& other) { return same_place(entry, other); }))
                all.push_back(entry);
    return all;
}

std::map<int, std::vector<InFlight>> in_flight_of(const RankJob& job, const fs::path& folder) {
    std::map<int, std::vector<InFlight>> in_flight;
    for (const RankProcess& rank : job.ranks) in_flight[rank.rank] = read_in_flight(folder, rank.rank);
    return in_flight;
}

} // namespace

// ---- a rank's side ----

InFlightFile::InFlightFile(const fs::path& folder, int rank) {
    if (folder.empty()) return;
    descriptor_ =
        Descriptor(::open(in_flight_path(folder, rank).c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600));
    if (descriptor_.get() < 0)
        throw std::system_error(errno, std::generic_category(), in_flight_path(folder, rank).string());
}

/// What write() has handed over stays, however the process ends.
void InFlightFile::write() const {
    if (descriptor_.get() < 0) return;
    if (::pwrite(descriptor_.get(), entries_.data(), sizeof entries_, 0) != static_cast<ssize_t>(sizeof entries_))
        throw std::system_error(errno, std::generic_category(), "writing which candidate is at work");
}

InFlightFile::Scope::Scope(InFlightFile& file, Phase phase, const Point& point, std::span<const std::string> candidates)
    : file_(file), around_(file.entries_), exceptions_(std::uncaught_exceptions()) {
    file_.entries_ = {};
    for (std::size_t i = 0; i < std::min(candidates.size(), kMost); ++i) {
        copy_text(file_.entries_[i].candidate, candidates[i]);
        file_.entries_[i].point = point;
        file_.entries_[i].phase = phase;
    }
    file_.write();
}

InFlightFile::Scope::~Scope() {
    if (std::uncaught_exceptions() > exceptions_) return;
    file_.entries_ = around_;
    try {
        file_.write();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "crossover: warning: %s\n", error.what());
    }
}

void InFlightFile::mark_timed_out() {
    for (InFlight& entry : entries_) entry.timed_out = true;
    write();
}

// ---- the driver's side ----

std::vector<InFlight> read_in_flight(const fs::path& folder, int rank) {
    std::vector<InFlight> entries = read_array<InFlight>(in_flight_path(folder, rank));
    std::erase_if(entries, [](const InFlight& entry) { return entry.name().empty(); });
    return entries;
}

std::vector<Verdict> read_verdicts(const fs::path& folder) {
    return folder.empty() ? std::vector<Verdict>{} : read_array<Verdict>(folder / kVerdicts);
}

std::vector<Verdict> blame(const RankFailure& failure, const std::map<int, std::vector<InFlight>>& in_flight,
                           std::span<const Verdict> so_far) {
    if (failure.kind == RankFailureKind::interrupted) return {};
    const std::vector<InFlight> suspects = suspects_of(failure, in_flight);
    // Of one rank, or of several that time the same point, all are at work together.
    const bool together = suspects.size() > 1 && std::ranges::all_of(suspects, [&](const InFlight& suspect) {
                              return suspect.phase == Phase::timing && suspect.point == suspects.front().point;
                          });
    const bool hung = failure.kind == RankFailureKind::no_progress || failure.kind == RankFailureKind::time_limit;
    std::vector<Verdict> verdicts;
    for (const InFlight& suspect : suspects) {
        Verdict verdict{.at = suspect, .sentence = Sentence::failed, .note = {}};
        if (hung || suspect.timed_out) verdict.sentence = Sentence::timed_out;
        if (together) verdict.sentence = Sentence::run_apart;
        copy_text(verdict.note, std::string(to_string(suspect.phase)) + ": " + failure.message);
        const bool known = std::ranges::any_of(so_far, [&](const Verdict& other) {
            return same_place(suspect, other.at) && (other.sentence != Sentence::run_apart || together);
        });
        if (!known) verdicts.push_back(verdict);
    }
    return verdicts;
}

std::optional<Exclusion> exclusion(std::span<const Verdict> verdicts, std::string_view candidate, const Point& point) {
    std::set<Point> failed_at;
    std::string last;
    for (const Verdict& verdict : verdicts) {
        if (verdict.at.name() != candidate || verdict.sentence == Sentence::run_apart) continue;
        if (reaches(verdict, point))
            return Exclusion{verdict.sentence == Sentence::failed ? SampleStatus::failed : SampleStatus::timeout,
                             verdict.note.data()};
        if (is_at_point(verdict)) {
            failed_at.insert(verdict.at.point);
            last = to_string(verdict.at.point) + ", " + verdict.note.data();
        }
    }
    if (std::ssize(failed_at) < kMostFailures) return std::nullopt;
    return Exclusion{SampleStatus::skipped,
                     "given up after " + std::to_string(failed_at.size()) + " points, the last " + last};
}

bool may_load(std::span<const Verdict> verdicts, std::string_view candidate) {
    return std::ranges::none_of(verdicts, [&](const Verdict& verdict) {
        return verdict.at.phase == Phase::load && verdict.at.name() == candidate;
    });
}

bool run_apart(std::span<const Verdict> verdicts, const Point& point) {
    return std::ranges::any_of(verdicts, [&](const Verdict& verdict) {
        return verdict.sentence == Sentence::run_apart && verdict.at.point == point;
    });
}

std::optional<RankFailure> supervise_once(const RankJob& job, const fs::path& folder) {
    std::optional<RankFailure> failure = supervise_ranks(job);
    if (!failure) return failure;
    for (const Verdict& verdict : blame(*failure, in_flight_of(job, folder), {}))
        failure->message += ", with " + std::string(verdict.at.name()) + " at work" + place_of(verdict.at);
    return failure;
}

std::optional<RankFailure> supervise_session(RankJob job, const fs::path& folder,
                                             const std::function<int()>& next_port) {
    std::vector<Verdict> verdicts = read_verdicts(folder);
    while (true) {
        for (const RankProcess& rank : job.ranks) fs::remove(in_flight_path(folder, rank.rank));
        job.port = next_port();
        std::optional<RankFailure> failure = supervise_ranks(job);
        if (!failure) return std::nullopt;

        const std::vector<Verdict> found = blame(*failure, in_flight_of(job, folder), verdicts);
        if (found.empty()) return failure;
        for (const Verdict& verdict : found)
            std::fprintf(stderr, "crossover: %s%s, %s; the session begins again %s\n",
                         std::string(verdict.at.name()).c_str(), place_of(verdict.at).c_str(), verdict.note.data(),
                         verdict.sentence == Sentence::run_apart ? "with each candidate by itself" : "without it");
        verdicts.insert(verdicts.end(), found.begin(), found.end());
        write_atomically(folder / kVerdicts, std::string(reinterpret_cast<const char*>(verdicts.data()),
                                                         verdicts.size() * sizeof(Verdict)));
    }
}

} // namespace crossover
