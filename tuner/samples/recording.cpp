#include "tuner/samples/recording.hpp"

#include "tuner/error.hpp"
#include "tuner/launch_name.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <string_view>
#include <tuple>

namespace crossover {
namespace {

class Recording : public SampleSource {
  public:
    Recording(const std::filesystem::path& directory, const Config& config)
        : directory_(directory), record_(read_provenance(directory / "provenance.yaml")),
          samples_(read_samples(directory / "samples.csv")) {
        for (const Sample& sample : samples_) {
            if (sample.sku != record_.fingerprint.sku)
                throw InputError((directory / "samples.csv").string(),
                                 "samples of " + sample.sku + ", but provenance.yaml says " + record_.fingerprint.sku,
                                 "keep the two files of one run together");
            if (!index_.emplace(Key{sample.session, sample.point, sample.algorithm}, &sample).second)
                throw InputError((directory / "samples.csv").string(),
                                 "two samples of " + name_of(sample.session, sample.point, sample.algorithm),
                                 "keep one");
        }
        require_recorded(config);
        find_launches(config);
        record_.provenance.extra["recording"] = std::filesystem::canonical(directory).filename();
    }

    std::vector<Sample> measure(int session, std::span<const Trial> trials) override {
        std::vector<Sample> samples;
        for (const Trial& trial : trials)
            for (const std::string& algorithm : trial.algorithms) {
                const auto found = index_.find({session, trial.point, algorithm});
                if (found == index_.end())
                    fail(name_of(session, trial.point, algorithm) + " was not recorded",
                         "ask for what was recorded, or measure on GPUs");
                samples.push_back(*found->second);
            }
        return samples;
    }

    std::vector<std::string> launches(std::string_view algorithm, const Point& point) const override {
        const auto found = launches_.find({std::string(algorithm), point});
        return found == launches_.end() ? std::vector<std::string>() : found->second;
    }

    Fingerprint fingerprint() const override { return record_.fingerprint; }
    Provenance provenance() const override { return record_.provenance; }

  private:
    using Key = std::tuple<int, Point, std::string_view>;

    static std::string name_of(int session, const Point& point, std::string_view algorithm) {
        return to_string(point) + " " + std::string(algorithm) + " in session " + std::to_string(session);
    }

    [[noreturn]] void fail(const std::string& what, const std::string& remedy) const {
        throw InputError(directory_.string(), what, remedy);
    }

    /// @throws InputError naming the first asked value that is not among the recorded ones, and those
    template <class T, class ToText>
    void require_among(const std::string& what, const std::set<T>& asked, const std::set<T>& recorded,
                       ToText to_text) const {
        for (const T& value : asked) {
            if (recorded.contains(value)) continue;
            std::string all;
            for (const T& known : recorded) all += (all.empty() ? "" : ", ") + std::string(to_text(known));
            fail(what + " " + std::string(to_text(value)) + " was not recorded; recorded: " + all,
                 "ask for these in the config, or measure on GPUs");
        }
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

    void require_recorded(const Config& config) const {
        // What was asked for, as points: sizes that max_message_bytes drops need not be there.
        const std::vector<Point> points = grid_points(config);
        const auto check = [&](const std::string& what, auto value_of, auto to_text) {
            std::set<decltype(value_of(Point{}))> asked, recorded;
            for (const Point& point : points) asked.insert(value_of(point));
            for (const Sample& sample : samples_) recorded.insert(value_of(sample.point));
            require_among(what, asked, recorded, to_text);
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

        std::set<std::string> algorithms;
        std::set<int> sessions;
        for (const Sample& sample : samples_) {
            algorithms.insert(sample.algorithm);
            sessions.insert(sample.session);
        }
        require_among("algorithm", {config.algorithms.begin(), config.algorithms.end()}, algorithms,
                      [](const std::string& text) { return text; });
        if (config.sessions > std::ssize(sessions))
            fail(std::to_string(config.sessions) +
                     " sessions were not recorded; recorded: " + std::to_string(sessions.size()),
                 "ask for at most these with --sessions or `measurement.sessions`, or measure on GPUs");
        if (record_.config && record_.config->cache != config.cache)
            fail("cache " + std::string(to_string(config.cache)) +
                     " was not recorded; recorded: " + std::string(to_string(record_.config->cache)),
                 "ask for this in the config, or measure on GPUs");

        // Each value was recorded; was each combination?
        for (int session = 0; session < config.sessions; ++session)
            for (const Point& point : points)
                for (const std::string& algorithm : algorithms_of(config, point.cell.pattern))
                    if (!index_.contains({session, point, algorithm}))
                        fail(name_of(session, point, algorithm) + " was not recorded, though other combinations were",
                             "leave one of these values out of the config, or measure on GPUs");
    }

    std::filesystem::path directory_;
    RunRecord record_;
    std::vector<Sample> samples_;
    std::map<Key, const Sample*> index_; // into samples_
    std::map<std::pair<std::string, Point>, std::vector<std::string>> launches_;
};

} // namespace

std::unique_ptr<SampleSource> open_recording(const std::filesystem::path& directory, const Config& config) {
    return std::make_unique<Recording>(directory, config);
}

} // namespace crossover
