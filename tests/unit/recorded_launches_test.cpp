/// Which launches a recording can be asked for.
#include "tests/support/command.hpp"
#include "tests/support/recordings.hpp"
#include "tests/support/written_samples.hpp"
#include "tuner/samples/recording.hpp"

#include <doctest/doctest.h>

using namespace crossover;

TEST_CASE("a launch that every session of the config has") {
    const std::string always = written::variant(1), once = written::variant(2);
    Config config = test::small_config();
    std::vector<Sample> samples = test::small_samples(config);
    const Point point = samples.front().point;
    const std::size_t count = samples.size();
    for (std::size_t i = 0; i < count; ++i) {
        if (samples[i].point != point || samples[i].algorithm != "oneshot") continue;
        for (const std::string& name : {always, once}) {
            if (name == once && samples[i].session > 0) continue;
            samples.push_back(samples[i]);
            samples.back().algorithm = name;
        }
    }
    const test::TemporaryFolder folder;
    write_provenance(folder.path() / "provenance.yaml", test::small_record(config));
    write_samples(folder.path() / "samples.csv", samples);
    const auto launches = [&] { return open_recording(folder.path(), config)->launches("oneshot", point); };
    CHECK(launches() == std::vector{always});
    config.sessions = 1;
    CHECK(launches() == std::vector{always, once});
}
