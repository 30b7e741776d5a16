/// Any bytes as a config, as a run's provenance.yaml and as an engine's rule: an InputError each, or settings that
/// survive being written and read again.
#include "tests/fuzz/support.hpp"
#include "tuner/config.hpp"
#include "tuner/error.hpp"
#include "tuner/fit/incumbent.hpp"
#include "tuner/read_file.hpp"
#include "tuner/samples/run_record.hpp"

#include <filesystem>
#include <optional>

using namespace crossover;

namespace {

/// What `read` makes of the text, or nothing if that is an InputError.
template <class Read>
auto accepted(std::string_view text, Read read) -> std::optional<decltype(read(std::filesystem::path()))> {
    try {
        return read(fuzz::MemoryFile(text).path());
    } catch (const InputError&) {
        return std::nullopt;
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    if (const auto config = accepted(text, read_config))
        fuzz::require(accepted(to_yaml(*config), read_config) == config, "a config is kept");
    if (const auto record = accepted(text, read_provenance)) {
        const std::string yaml = to_yaml(*record);
        const auto again = accepted(yaml, read_provenance);
        fuzz::require(again && to_yaml(*again) == yaml, "provenance.yaml keeps its record");
    }
    accepted(text, [](const std::filesystem::path& path) {
        return is_incumbent(read_file(path, "the text"), path.string());
    });
    if (const auto incumbent = accepted(text, read_incumbent)) {
        const std::string choice =
            choose(*incumbent, "9.0", {.cell = {.world_size = 8}, .hidden_dim = 8192, .num_tokens = 64});
        fuzz::require(!choice.empty() && !incumbent->rules.empty(), "a rule chooses");
    }
    return 0;
}
