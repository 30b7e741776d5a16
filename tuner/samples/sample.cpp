#include "tuner/samples/sample.hpp"

namespace crossover {
namespace {

constexpr std::array kStatuses{
    Named<SampleStatus>{SampleStatus::ok, "ok"}, Named<SampleStatus>{SampleStatus::skipped, "skipped"},
    Named<SampleStatus>{SampleStatus::failed, "failed"}, Named<SampleStatus>{SampleStatus::timeout, "timeout"}};

} // namespace

std::string_view to_string(SampleStatus status) { return detail::name_in(kStatuses, status); }

std::optional<SampleStatus> parse_sample_status(std::string_view name) {
    return detail::value_in<SampleStatus>(kStatuses, name);
}

} // namespace crossover
