#include "tuner/plan/run_session.hpp"

#include <stdexcept>

namespace crossover {
namespace {

void require_answers(int session, std::span<const Trial> trials, std::span<const Sample> samples) {
    auto sample = samples.begin();
    for (const Trial& trial : trials)
        for (const std::string& algorithm : trial.algorithms) {
            if (sample == samples.end() || sample->session != session || sample->point != trial.point ||
                sample->algorithm != algorithm)
                throw std::logic_error("no sample of " + to_string(trial.point) + " " + algorithm + " came back");
            ++sample;
        }
}

} // namespace

void run_session(int session, Plan& plan, SampleSource& source, std::vector<Sample>& samples,
                 const std::function<void(std::span<const Trial>, std::span<const Sample>)>& store) {
    while (true) {
        const std::vector<Trial> trials = plan.next(session, samples);
        if (trials.empty()) return;
        const std::vector<Sample> measured = source.measure(session, trials);
        require_answers(session, trials, measured);
        store(trials, measured);
        samples.insert(samples.end(), measured.begin(), measured.end());
    }
}

} // namespace crossover
