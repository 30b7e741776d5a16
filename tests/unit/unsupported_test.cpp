// What the kernels refuse, before anything is launched: each reason by a call that has no other.

#include "kernels/launch.hpp"
#include "kernels/workspace.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <string>

using namespace crossover;

namespace {

struct Attempt {
    Attempt() {
        alignas(16) static std::byte tensor[16];
        static const float scale = 1;
        call.pattern = Pattern::allreduce_residual_rmsnorm;
        call.num_tokens = 8;
        call.hidden_dim = 1024;
        call.input = call.residual_in = call.gamma = tensor;
        call.output = call.residual_out = call.output_scales = tensor;
        call.quant_scale = &scale;
        workspace.peers.world_size = 4;
        workspace.bytes = std::size_t{16} << 20;
    }
    Fused algorithm = Fused::twoshot;
    FusedAllReduce call;
    Workspace workspace;
    LaunchParameters launch{.cluster_size = 2, .clusters = 8, .threads = 64, .push_ahead = 1, .consume_behind = 1};
};

std::string reason(const std::function<void(Attempt&)>& change) {
    Attempt attempt;
    change(attempt);
    return unsupported(attempt.algorithm, attempt.call, attempt.workspace, attempt.launch).value_or("");
}

} // namespace

TEST_CASE("calls") {
    CHECK(reason([](Attempt&) {}).empty());
    CHECK(reason([](Attempt& a) { a.workspace.peers.world_size = 6; }) == "world size 6 is not 2, 4 or 8");
    CHECK(reason([](Attempt& a) { a.call.pattern = Pattern::moe_combine_even; }) ==
          "moe_combine_even is no all-reduce");
    CHECK(reason([](Attempt& a) { a.call.num_tokens = 0; }) == "num_tokens 0 is below 1");
    CHECK(reason([](Attempt& a) { a.call.num_tokens = (1 << 30) + 1; }) == "num_tokens 1073741825 is above 2^30");
    CHECK(reason([](Attempt& a) { a.call.num_tokens = 1 << 30; }).empty());
    for (const std::int64_t hidden_dim : {0, 4, 1028})
        CHECK(reason([&](Attempt& a) { a.call.hidden_dim = hidden_dim; }).find("is not a positive multiple of 8") !=
              std::string::npos);
    const auto with_fp4 = [](Attempt& a) { a.call.quant = Quant::fp4; };
    CHECK(reason(with_fp4).empty());
    CHECK(reason([](Attempt& a) { a.call.hidden_dim = 1032; }).empty());
    CHECK(reason([&](Attempt& a) {
              with_fp4(a);
              a.call.hidden_dim = 1032;
          }) == "hidden_dim 1032 is not a positive multiple of 16");
    CHECK(reason([](Attempt& a) { a.call.hidden_dim = 128 << 10; }) ==
          "2 CTAs of 64 threads are too few for a row of 131072 elements");
    for (const std::int64_t hidden_dim : {(std::int64_t{128} << 10) + 8, std::int64_t{1} << 39, std::int64_t{1} << 62})
        for (const DType dtype : {DType::bfloat16, DType::float16, DType::float32})
            CHECK(reason([&](Attempt& a) {
                      a.call.dtype = dtype;
                      a.call.hidden_dim = hidden_dim;
                  }).starts_with("a row of more than 262144"));
    CHECK(reason([](Attempt& a) {
              a.call.pattern = Pattern::allreduce;
              a.call.quant = Quant::fp8;
          }) == "quantization needs a pattern with a norm");
    CHECK(reason([](Attempt& a) {
              a.algorithm = Fused::oneshot;
              a.call.pattern = Pattern::allreduce_residual_rmsnorm_sharded;
          }).starts_with("oneshot needs the whole residual"));
}

TEST_CASE("tensors: needed where the pattern needs them, and aligned") {
    CHECK(reason([](Attempt& a) { a.call.input = nullptr; }) == "input or output is null");
    CHECK(reason([](Attempt& a) { a.call.output = nullptr; }) == "input or output is null");
    const auto without_gamma = [](Attempt& a) { a.call.gamma = nullptr; };
    CHECK(reason(without_gamma) == "gamma is null");
    const auto without_residual = [](Attempt& a) { a.call.residual_out = nullptr; };
    CHECK(reason(without_residual) == "residual is null");
    CHECK(reason([&](Attempt& a) {
              without_gamma(a);
              without_residual(a);
              a.call.pattern = Pattern::allreduce;
          }).empty());
    const auto without_scale = [](Attempt& a) { a.call.quant_scale = nullptr; };
    CHECK(reason(without_scale).empty());
    CHECK(reason([&](Attempt& a) {
              without_scale(a);
              a.call.quant = Quant::fp8;
          }) == "quant_scale is null");
    const auto without_scales = [](Attempt& a) { a.call.output_scales = nullptr; };
    for (const Quant quant : {Quant::none, Quant::fp8, Quant::fp4})
        CHECK(reason([&](Attempt& a) {
                  without_scales(a);
                  a.call.quant = quant;
              }) == (quant == Quant::fp4 ? "output_scales is null" : ""));
    const auto shifted = [](auto* pointer) {
        return reinterpret_cast<decltype(pointer)>(8 + reinterpret_cast<std::uintptr_t>(pointer));
    };
    for (const auto& shift : std::initializer_list<std::function<void(FusedAllReduce&)>>{
             [&](FusedAllReduce& c) { c.input = shifted(c.input); },
             [&](FusedAllReduce& c) { c.gamma = shifted(c.gamma); },
             [&](FusedAllReduce& c) { c.output = shifted(c.output); },
             [&](FusedAllReduce& c) { c.residual_in = shifted(c.residual_in); },
             [&](FusedAllReduce& c) { c.residual_out = shifted(c.residual_out); }})
        CHECK(reason([&](Attempt& a) { shift(a.call); }) == "a tensor is not aligned to 16 bytes");
}

TEST_CASE("launches") {
    for (const int cluster_size : {0, 17})
        CHECK(reason([&](Attempt& a) { a.launch.cluster_size = cluster_size; }).ends_with("is not in 1…16"));
    for (const int threads : {0, 48, 544})
        CHECK(reason([&](Attempt& a) { a.launch.threads = threads; }).ends_with("is not a multiple of 32 in 32…512"));
    const std::string out_of_range = "clusters, push_ahead or consume_behind is out of range";
    CHECK(reason([](Attempt& a) { a.launch.clusters = 0; }) == out_of_range);
    for (const int rows : {-1, 65}) {
        CHECK(reason([&](Attempt& a) { a.launch.push_ahead = rows; }) == out_of_range);
        CHECK(reason([&](Attempt& a) { a.launch.consume_behind = rows; }) == out_of_range);
    }
    CHECK(reason([](Attempt& a) { a.launch.clusters = 16384; }).empty());
    CHECK(reason([](Attempt& a) { a.launch.clusters = 16385; }) == "more than 32768 CTAs");
    CHECK(reason([](Attempt& a) {
              a.call.hidden_dim = 128 << 10; // 512 units
              a.launch.threads = 32;
          }) == "2 CTAs of 32 threads are too few for a row of 131072 elements");
    CHECK(reason([](Attempt& a) {
              a.workspace.bytes = 8 << 10;
          }).starts_with("the workspace of 8192 bytes holds 3584 of the "));
}

TEST_CASE("a wait for ever is one that the clock can count to") {
    for (const std::uint64_t timeout_ns : {std::uint64_t{1}, std::uint64_t{1} << 62, ~std::uint64_t{0}}) {
        Attempt attempt;
        attempt.workspace.timeout_ns = timeout_ns;
        const device::Arguments arguments =
            fused_arguments(attempt.algorithm, attempt.call, attempt.workspace, attempt.launch);
        CHECK(arguments.timeout_ns == std::min(timeout_ns, std::uint64_t{1} << 62));
    }
}

TEST_CASE("a rank alone: what local work refuses") {
    const auto refuses = [](const std::function<void(Attempt&)>& change, const char* expected) {
        Attempt attempt;
        change(attempt);
        CHECK_THROWS_WITH_AS(local_arguments(attempt.call, attempt.launch), expected, std::invalid_argument);
    };
    CHECK_NOTHROW(local_arguments(Attempt().call, Attempt().launch));
    refuses([](Attempt& a) { a.call.num_tokens = 0; }, "num_tokens 0 is below 1");
    refuses([](Attempt& a) { a.call.residual_in = nullptr; }, "residual is null");
    refuses([](Attempt& a) { a.call.pattern = Pattern::allreduce_residual_rmsnorm_sharded; },
            "a rank alone does not know which tokens it owns");
    refuses([](Attempt& a) { a.launch.cluster_size = 17; }, "cluster_size 17 is not in 1…16");
}
