#include "tuner/samples/recording.hpp"

#include "tuner/error.hpp"
#include "tuner/joined.hpp"
#include "tuner/launch_name.hpp"
#include "tuner/roles.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <span>
#include <string_view>
#include <tuple>

namespace crossover {
namespace {

/// Why a recording cannot be asked for a config, and what to do about it.
struct Unrecorded {
    std::string what, remedy;
};

class Recording : public SampleSource {
  public:
    explicit Recording(const std::filesystem::path& directory)
        : directory_(directory), record_(read_provenance(directory / "provenance.yaml")),
          samples_(read_samples(directory / "samples.csv")) {
        for (const Sample& sample : samples_) {
            if (sample.sku != record_.fingerprint.sku)
                throw InputError((directory / "samples.csv").string(),
                                 "samples of " + sample.sku + ", but provenance.yaml says " + record_.fingerprint.sku,
                                 "keep the two files of one run together");
            index_.emplace(Key{sample.session, sample.point, sample.algorithm}, &sample);
        }
    }

    const RunRecord& record() const { return record_; }

    /// How many of these are there.
    std::ptrdiff_t count_recorded(const std::vector<int>& world_sizes) const {
        return std::ranges::count_if(world_sizes, [&](int world_size) {
            return std::ranges::any_of(samples_,
                                       [=](const Sample& s) { return s.point.cell.world_size == world_size; });
        });
    }

    /// What the config asks for and was not recorded: at most one each of world sizes, patterns, dtypes, quants,
    /// hidden_dims, token counts, sessions, settings, and algorithms of a pattern; if none of these, of their
    /// combinations.
    std::vector<Unrecorded> lacks(const Config& config) const {
        // What was asked for, as points: sizes that max_message_bytes drops need not be there.
        const std::vector<Point> points = grid_points(config);
        std::vector<Unrecorded> all;
        const auto check = [&](const std::string& what, auto value_of, auto to_text) {
            std::set<decltype(value_of(Point{}))> asked, recorded;
            for (const Point& point : points) asked.insert(value_of(point));
            for (const Sample& sample : samples_) recorded.insert(value_of(sample.point));
            add_missing(all, what, asked, recorded, to_text);
        };
        const auto number = [](auto value) { return std::to_string(value); };
        const auto name = [](auto value) { return to_string(value); };
        check(
            "world size", [](const Point& point) { return point.cell.world_size; }, number);
        check(
            "pattern", [](const Point& point) { return point.cell.pattern; }, name);
        check(
            "dtype", [](const Point& point) { return point.cell.dtype; }, name);
        check(
            "quant", [](const Point& point) { return point.cell.quant; }, name);
        check(
            "hidden_dim", [](const Point& point) { return point.hidden_dim; }, number);
        check(
            "num_tokens", [](const Point& point) { return point.num_tokens; }, number);

        std::map<Pattern, std::set<std::string>> algorithms;
        std::set<int> sessions;
        for (const Sample& sample : samples_) {
            if (!is_launch_variant(sample.algorithm)) algorithms[sample.point.cell.pattern].insert(sample.algorithm);
            sessions.insert(sample.session);
        }
        for (const Pattern pattern : config.patterns) {
            const std::vector<std::string> asked = algorithms_of(config, pattern);
            if (algorithms.contains(pattern))
                add_missing(all, "pattern " + std::string(to_string(pattern)) + ": algorithm",
                            std::set<std::string>(asked.begin(), asked.end()), algorithms[pattern],
                            [](const std::string& text) { return text; });
        }
        if (config.sessions > std::ssize(sessions))
            all.push_back({std::to_string(config.sessions) +
                               " sessions were not recorded; recorded: " + std::to_string(sessions.size()),
                           "ask for at most these with --sessions or `measurement.sessions`, or measure on GPUs"});
        const auto check_setting = [&](const std::string& key, const auto& asked, const auto& recorded, auto to_text) {
            if (asked != recorded)
                all.push_back({key + " " + to_text(asked) + " was not recorded; recorded: " + to_text(recorded),
                               "ask for this in the config, or measure on GPUs"});
        };
        if (const std::optional<Config>& recorded = record_.config) {
            check_setting("cache", config.cache, recorded->cache,
                          [](auto state) { return std::string(to_string(state)); });
            check_setting("scale_layout", config.scale_layout, recorded->scale_layout,
                          [](auto layout) { return std::string(to_string(layout)); });
            check_setting("workspace_limit_bytes", config.workspace_limit_bytes, recorded->workspace_limit_bytes,
                          number);
            const auto beyond = [&](const Point& point) { return message_bytes(point) > recorded->max_message_bytes; };
            if (std::ranges::any_of(points, beyond))
                check_setting("max_message_bytes", config.max_message_bytes, recorded->max_message_bytes, number);
        }
        if (all.empty()) add_missing_combination(all, points, config);
        return all;
    }

    /// A launch variant can be asked for where every session of the config has it.
    void find_launches(const Config& config) {
        std::map<std::pair<Point, std::string>, int> sessions;
        for (const Sample& sample : samples_)
            if (is_launch_variant(sample.algorithm) && sample.session < config.sessions)
                ++sessions[{sample.point, sample.algorithm}];
        for (const auto& [key, count] : sessions)
            if (count == config.sessions)
                launches_[{parse_launched(key.second).algorithm, key.first}].push_back(key.second);
    }

    std::vector<Sample> measure(int session, std::span<const Trial> trials) override {
        std::vector<Sample> samples;
        for (const Trial& trial : trials)
            for (const std::string& algorithm : trial.algorithms) {
                const auto found = index_.find({session, trial.point, algorithm});
                if (found == index_.end())
                    throw InputError(directory_.string(),
                                     name_of(session, trial.point, algorithm) + " was not recorded",
                                     "ask for what was recorded, or measure on GPUs");
                samples.push_back(*found->second);
            }
        return samples;
    }

    std::vector<std::string> launches(std::string_view algorithm, const Point& point) const override {
        const auto found = launches_.find({std::string(algorithm), point});
        return found == launches_.end() ? std::vector<std::string>() : found->second;
    }

  private:
    using Key = std::tuple<int, Point, std::string_view>;

    static std::string name_of(int session, const Point& point, std::string_view algorithm) {
        return to_string(point) + " " + std::string(algorithm) + " in session " + std::to_string(session);
    }

    /// Adds the first asked value that is not among the recorded ones, and those.
    template <class T, class ToText>
    static void add_missing(std::vector<Unrecorded>& lacks, const std::string& what, const std::set<T>& asked,
                            const std::set<T>& recorded, ToText to_text) {
        for (const T& value : asked) {
            if (recorded.contains(value)) continue;
            lacks.push_back({what + " " + std::string(to_text(value)) +
                                 " was not recorded; recorded: " + joined(recorded, ", ", to_text),
                             "ask for these in the config, or measure on GPUs"});
            return;
        }
    }

    /// Each value was recorded; was each combination?
    void add_missing_combination(std::vector<Unrecorded>& lacks, std::span<const Point> points,
                                 const Config& config) const {
        for (int session = 0; session < config.sessions; ++session)
            for (const Point& point : points)
                for (const std::string& algorithm : algorithms_of(config, point.cell.pattern)) {
                    if (index_.contains({session, point, algorithm})) continue;
                    lacks.push_back(
                        {name_of(session, point, algorithm) + " was not recorded, though other combinations were",
                         "leave one of these values out of the config, or measure on GPUs"});
                    return;
                }
    }

    std::filesystem::path directory_;
    RunRecord record_;
    std::vector<Sample> samples_;
    std::map<Key, const Sample*> index_; // into samples_
    std::map<std::pair<std::string, Point>, std::vector<std::string>> launches_;
};

/// Those of `asked` that were recorded, in their order; all if none was.
template <class T>
void keep_recorded(std::vector<T>& asked, const std::vector<T>& recorded) {
    std::vector<T> kept;
    std::ranges::copy_if(asked, std::back_inserter(kept),
                         [&](const T& value) { return std::ranges::find(recorded, value) != recorded.end(); });
    if (!kept.empty()) asked = kept;
}

} // namespace

Config replayable(Config config, const RunRecord& recorded, Lenience lenience) {
    if (recorded.gpus > 0 && std::ranges::min(config.world_sizes) <= recorded.gpus)
        drop_world_sizes_above(config, recorded.gpus);
    if (lenience.shapes && recorded.config) {
        keep_recorded(config.dtypes, recorded.config->dtypes);
        keep_recorded(config.hidden_dims, recorded.config->hidden_dims);
    }
    if (lenience.sessions) config.sessions = std::min(config.sessions, recorded.provenance.sessions);
    return config;
}

std::filesystem::path choose_recording(const std::vector<std::filesystem::path>& directories, const Config& asked,
                                       Lenience lenience) {
    struct Known {
        std::filesystem::path directory;
        std::vector<Unrecorded> lacks;
        std::ptrdiff_t world_sizes;
        Provenance provenance;
    };
    std::vector<Known> all;
    for (const std::filesystem::path& directory : directories) {
        const Recording recording(directory);
        const RunRecord& record = recording.record();
        Config config = asked;
        if (record.config) take_candidates(config, record.config->candidates);
        config = replayable(config, record, lenience);
        all.push_back(
            {directory, recording.lacks(config), recording.count_recorded(asked.world_sizes), record.provenance});
    }
    if (all.empty()) throw InputError("--recording", "there is no recording to replay", "name a folder of one");
    // The first is the best.
    std::ranges::sort(all, [](const Known& a, const Known& b) {
        const auto more_is_better = [](const Known& known) {
            return std::tie(known.world_sizes, known.provenance.sessions, known.provenance.samples,
                            known.provenance.date);
        };
        if (a.lacks.size() != b.lacks.size()) return a.lacks.size() < b.lacks.size();
        if (more_is_better(a) != more_is_better(b)) return more_is_better(a) > more_is_better(b);
        return a.directory < b.directory;
    });
    const Known& best = all.front();
    if (best.lacks.empty()) return best.directory;
    std::string what = best.lacks.front().what;
    for (const Known& other : std::span(all).subspan(1))
        what += "; nor is " + other.directory.filename().string() + " a choice: " + other.lacks.front().what;
    throw InputError(best.directory.string(), what, best.lacks.front().remedy);
}

std::unique_ptr<SampleSource> open_recording(const std::filesystem::path& directory, const Config& config) {
    auto recording = std::make_unique<Recording>(directory);
    if (const std::vector<Unrecorded> lacks = recording->lacks(config); !lacks.empty())
        throw InputError(directory.string(), lacks.front().what, lacks.front().remedy);
    recording->find_launches(config);
    return recording;
}

} // namespace crossover
