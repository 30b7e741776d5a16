#include "tuner/plan/run_session.hpp"

#include <stdexcept>

namespace crossover {
namespace {

/// How many of the trials these samples answer: the first ones, and at least one.
std::size_t answered(int session, std::span<const Trial> trials, std::span<const Sample> samples) {
    std::size_t count = 0;
    auto sample = samples.begin();
    do {
        const Trial& trial = trials[count];
        for (const std::string& algorithm : trial.algorithms) {
            if (sample == samples.end() || sample->session != session || sample->point != trial.point ||
                sample->algorithm != algorithm)
                throw std::logic_error("no sample of " + to_string(trial.point) + " " + algorithm + " came back");
            ++sample;
        }
    } while (++count < trials.size() && sample != samples.end());
    return count;
}

} // namespace

void run_session(int session, Plan& plan, SampleSource& source, std::vector<Sample>& samples,
                 const std::function<void(std::span<const Trial>, std::span<const Sample>)>& store) {
    while (true) {
        const std::vector<Trial> trials = plan.next(session, samples);
        if (trials.empty()) return;
        for (std::span<const Trial> left = trials; !left.empty();) {
            const std::vector<Sample> measured = source.measure(session, left);
            const std::size_t count = answered(session, left, measured);
            store(left.first(count), measured);
            samples.insert(samples.end(), measured.begin(), measured.end());
            left = left.subspan(count);
        }
    }
}

} // namespace crossover
