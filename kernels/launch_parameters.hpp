#pragma once
/// How a launch is cut up, for the kernels, the tuner and the table. No CUDA.

namespace crossover {

/// Derived from shape and world size only (or from a table that all ranks share), because ranks that launch differently
/// wait for each other until the time-out.
struct LaunchParameters {
    int cluster_size = 1;   // CTAs that share one token's row (1…16; 1 below compute capability 9.0)
    int clusters = 132;     // tokens in flight; cluster c takes tokens c, c + clusters, … (sharded: an odd number)
    int threads = 512;      // per CTA, a multiple of 32, at most 512
    int push_ahead = 1;     // a row is sent this many iterations before it is summed
    int consume_behind = 1; // twoshot: a row is normed this many iterations after it is summed
    bool pdl = true;        // programmatic dependent launch: the next launch may begin its prologue early

    bool operator==(const LaunchParameters&) const = default;
};

} // namespace crossover
