/// The unfused kernels against the float64 reference, and the unfused path of an engine with a good all-reduce of its
/// own: our plain all-reduce and a norm kernel, chained by PDL. Needs one GPU or more.

#define DOCTEST_CONFIG_IMPLEMENT
#include "tests/gpu/against_reference.cuh"

using namespace crossover;
using namespace crossover::testing;

TEST_CASE("the unfused kernels, as one and one by one, agree with float64") {
    InProcessWorld world(1, std::size_t{16} << 20, std::size_t{1} << 20);
    const cudaStream_t stream = world.ranks[0].stream->get();
    DeviceBuffer<std::byte> normed(std::size_t{16} << 20);
    std::uint64_t seed = 1;
    for (const Pattern pattern : {Pattern::allreduce_rmsnorm, Pattern::allreduce_residual_rmsnorm})
        for (const auto& dtype : kDTypes)
            for (const auto& quant : kQuants)
                for (const auto& [tokens, hidden] : std::vector<std::pair<std::int64_t, std::int64_t>>{
                         {1, 16}, {3, 1024}, {130, 2880}, {33, 5120}, {7, 7168}, {400, 8192}, {2, 65536}}) {
                    FusedAllReduce shape;
                    shape.pattern = pattern;
                    shape.dtype = dtype.value;
                    shape.quant = quant.value;
                    shape.scale_layout = tokens % 2 ? ScaleLayout::swizzled : ScaleLayout::linear;
                    shape.num_tokens = tokens;
                    shape.hidden_dim = hidden;
                    const FusedAllReduce call = world.call_of(shape, 0);
                    world.fill(shape, ++seed, quant_scale_of(shape));
                    const ReferenceCall reference = reference_of(shape, 1, seed);
                    INFO(describe(Fused::oneshot, shape, 1));
                    for (const bool pdl : {false, true}) {
                        world.poison();
                        unfused::fused_norm(call, pdl, stream);
                        world.synchronize();
                        check_rows(world, shape, reference);

                        world.poison();
                        const void* source = call.input;
                        if (has_residual(pattern)) {
                            unfused::add_residual(call, pdl, stream);
                            source = call.residual_out;
                        }
                        const bool quantized = quant.value != Quant::none;
                        void* const result = quantized ? normed.data() : call.output;
                        unfused::rmsnorm(call, source, result, pdl, stream);
                        if (quantized) unfused::quantize(call, normed.data(), pdl, stream);
                        world.synchronize();
                        check_rows(world, shape, reference, true);
                    }
                }
}

// Shapes at which the norm kernel's first blocks become resident beside those of the all-reduce (320 threads leave them
// registers), one wave of them or more, and at which rings wrap (eight rows a cluster and more) or do not.
TEST_CASE("all-reduce and norm kernel in turn, chained by PDL, many times, with late ranks and a loaded memory") {
    int multiprocessors = 0;
    CROSSOVER_CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0));
    for (const int size : {2, 4, 8}) {
        const int ranks_per_gpu = (size + gpu_count() - 1) / gpu_count();
        InProcessWorld world(size, std::size_t{16} << 20, std::size_t{64} << 20);
        for (Workspace& workspace : world.workspaces) workspace.timeout_ns = 500'000'000;
        MemoryLoad load(world);
        for (const std::int64_t hidden : {2048, 2880, 5120, 7168, 8192})
            for (const std::int64_t tokens : {24, 384, 512, 768})
                for (const Fused algorithm : {Fused::oneshot, Fused::twoshot}) {
                    FusedAllReduce shape;
                    shape.num_tokens = tokens;
                    shape.hidden_dim = hidden;
                    INFO(describe(algorithm, shape, size));
                    world.fill(shape, 9, 1);
                    std::vector<DeviceBuffer<std::byte>> reduced, expected;
                    std::vector<DeviceBuffer<unsigned long long>> wrong;
                    for (int rank = 0; rank < size; ++rank) {
                        const DeviceGuard guard(world.ranks[rank].device);
                        reduced.emplace_back(output_bytes(shape));
                        expected.emplace_back(output_bytes(shape));
                        wrong.emplace_back(1);
                        CROSSOVER_CUDA_CHECK(cudaMemsetAsync(wrong.back().data(), 0, sizeof(unsigned long long),
                                                             world.ranks[rank].stream->get()));
                    }
                    const auto pair = [&](int rank) {
                        const cudaStream_t stream = world.ranks[rank].stream->get();
                        FusedAllReduce allreduce = world.call_of(shape, rank);
                        allreduce.pattern = Pattern::allreduce;
                        allreduce.output = reduced[static_cast<std::size_t>(rank)].data();
                        // With a GPU to itself a rank launches as the tuner does, on all of it.
                        LaunchParameters launch = world.launch_for(algorithm, shape);
                        if (ranks_per_gpu == 1)
                            launch = default_launch(algorithm, allreduce, world.workspaces[rank], multiprocessors, 9);
                        (algorithm == Fused::oneshot ? oneshot : twoshot)(allreduce, world.workspaces[rank], launch,
                                                                          stream);
                        FusedAllReduce norm = world.call_of(shape, rank);
                        norm.input = allreduce.output;
                        unfused::fused_norm(norm, ranks_per_gpu == 1, stream);
                    };
                    const auto each_rank = [&](auto action) {
                        for (int rank = 0; rank < size; ++rank) {
                            const DeviceGuard guard(world.ranks[rank].device);
                            action(rank);
                        }
                    };
                    each_rank(pair); // the expected result is that of a first, lone run, the same on all ranks
                    world.synchronize();
                    each_rank([&](int rank) {
                        copy_and_wait(expected[static_cast<std::size_t>(rank)].data(), world.ranks[0].output.data(),
                                      output_bytes(shape));
                    });

                    std::vector<GraphExec> graphs;
                    each_rank([&](int rank) {
                        const cudaStream_t stream = world.ranks[rank].stream->get();
                        graphs.emplace_back(capture(stream, [&] {
                            for (int call = 0; call < 20; ++call) {
                                if ((call + rank) % 7 == 0) delay_kernel<<<1, 1, 0, stream>>>(5000);
                                pair(rank);
                            }
                            const auto at = static_cast<std::size_t>(rank);
                            count_differences_kernel<<<64, 256, 0, stream>>>(
                                reinterpret_cast<const unsigned*>(world.ranks[rank].output.data()),
                                reinterpret_cast<const unsigned*>(expected[at].data()), expected[at].bytes() / 4,
                                wrong[at].data());
                        }));
                    });
                    for (int replay = 0; replay < 100; ++replay) {
                        each_rank([&](int rank) {
                            if (replay % 4 == 0) load.enqueue(rank);
                            graphs[static_cast<std::size_t>(rank)].launch(world.ranks[rank].stream->get());
                        });
                        if (replay % 20 == 19) world.synchronize();
                    }
                    world.check_replayed(wrong);
                    load.synchronize();
                    world.reset();
                }
    }
}
