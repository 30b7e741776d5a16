#pragma once
/// How a rank's rows are dealt to the threads of a dispatch, and go to other ranks: kBatch vectors of a thread in each
/// step of its CTA. Whoever relays a step deals it as its source does, and finds in its own output what that has
/// stored.

#include "kernels/device/moe_arguments.hpp"
#include "kernels/device/quantize.cuh"

namespace crossover::device {

/// What a thread sends in a step.
template <DType D, Quant Q>
struct Batch {
    Codes<D, Q> codes[kBatch];
    unsigned char block_scale[kBatch];

    __device__ __forceinline__ void quantize(const Vector (&x)[kBatch], float factor) {
#pragma unroll
        for (unsigned k = 0; k < kBatch; ++k) {
            if constexpr (Q == Quant::none) {
                codes[k] = x[k];
            } else {
                const Quantized<D, Q> q = quantized<D, Q>(unpack<D>(x[k]), factor);
                codes[k] = q.codes;
                block_scale[k] = q.block_scale;
            }
        }
    }
};

/// The rank so many hops behind another, up to the world size.
__device__ __forceinline__ int rank_after(const Peers& peers, int rank, int hop) {
    return rank + hop < peers.world_size ? rank + hop : rank + hop - peers.world_size;
}

/// To whom a step goes.
struct Everybody {
    __device__ bool has(int) const { return true; }
};
struct Ranks {
    unsigned bits;
    __device__ bool has(int rank) const { return (bits >> rank & 1) != 0; }
};

/// store(to) for each of these ranks: every rank begins with another one, and ends with itself.
template <class To, class Store>
__device__ __forceinline__ void for_each_rank(const Peers& peers, To to, Store store) {
    for (int hop = 1; hop <= peers.world_size; ++hop) {
        const int rank = rank_after(peers, peers.rank, hop);
        if (to.has(rank)) store(rank);
    }
}

template <class T>
__device__ __forceinline__ void put(bool own, T* address, const T& value) {
    if (own)
        *address = value;
    else
        store_to_peer(address, value);
}

/// The rows of `source` as one sequence of vectors, dealt to the threads of the grid in turns: balanced at any number
/// of rows.
template <DType D, Quant Q>
class RowsInTurns {
  public:
    struct Shared {};

    __device__ RowsInTurns(const MoeArguments& a, int source, Shared&)
        : a_(a), first_(a.first[source]), end_(a.first[source + 1]), stride_(gridDim.x * blockDim.x) {}

    /// Whether any of the CTA's threads has something in this step.
    __device__ bool has(unsigned step) const { return vector(step, 0) - threadIdx.x < end_; }

    /// From the input of the source.
    __device__ __forceinline__ void load(unsigned step, Vector (&x)[kBatch]) const {
#pragma unroll
        for (unsigned k = 0; k < kBatch; ++k)
            x[k] = vector(step, k) < end_ ? load_tensor(a_.input, vector(step, k) - first_) : Vector{};
    }

    template <class To>
    __device__ __forceinline__ void store(unsigned step, const Batch<D, Q>& batch, To ranks) const {
        std::uint64_t scale_at[kBatch];
        if constexpr (Q == Quant::fp4) {
#pragma unroll
            for (unsigned k = 0; k < kBatch; ++k) scale_at[k] = scale_place(step, k);
        }
        for_each_rank(a_.peers, ranks, [&](int to) {
            const bool own = to == a_.peers.rank;
#pragma unroll
            for (unsigned k = 0; k < kBatch; ++k) {
                if (vector(step, k) >= end_) continue;
                put(own, static_cast<Codes<D, Q>*>(a_.output[to]) + vector(step, k), batch.codes[k]);
                if (Q == Quant::fp4 && vector(step, k) % kLanesPerBlock<D> == 0)
                    put(own, static_cast<unsigned char*>(a_.output_scales[to]) + scale_at[k], batch.block_scale[k]);
            }
        });
    }

    /// From this rank's output to others'.
    __device__ __forceinline__ void relay(unsigned step, Ranks ranks) const {
        Batch<D, Q> batch;
#pragma unroll
        for (unsigned k = 0; k < kBatch; ++k) {
            if (vector(step, k) >= end_) continue;
            batch.codes[k] = static_cast<const Codes<D, Q>*>(a_.output[a_.peers.rank])[vector(step, k)];
            if (Q == Quant::fp4 && vector(step, k) % kLanesPerBlock<D> == 0)
                batch.block_scale[k] =
                    static_cast<const unsigned char*>(a_.output_scales[a_.peers.rank])[scale_place(step, k)];
        }
        store(step, batch, ranks);
    }

  private:
    __device__ std::uint64_t scale_place(unsigned step, unsigned k) const {
        const unsigned row = vector(step, k) / a_.vectors_per_row;
        const unsigned block = (vector(step, k) - row * a_.vectors_per_row) / kLanesPerBlock<D>;
        return scale_offset(row, block, a_.vectors_per_row / kLanesPerBlock<D>, a_.swizzled_scales);
    }
    __device__ unsigned vector(unsigned step, unsigned k) const {
        return first_ + blockIdx.x * blockDim.x + threadIdx.x + (step * kBatch + k) * stride_;
    }

    const MoeArguments& a_;
    unsigned first_, end_, stride_;
};

/// Many rows of fp4 with swizzled scales. A tile of those, 128 rows × 4 blocks, holds 4 blocks of rows r, r + 32, r +
/// 64, r + 96, then those of row r + 1: four bytes of a row lie together, and sent like that they cost the link more
/// than all codes (118 µs where this takes 56: 4096 rows of 7168 a rank, 2 ranks). So in a step a CTA takes 32 vectors
/// of rows r + 32·k of as many r as it has warps, and sends their scales by way of shared memory: 128 bytes in one
/// piece with eight warps.
template <DType D>
class RowsInTiles {
    static constexpr unsigned kBlocks = kWarp / kLanesPerBlock<D>, kTiles = kBlocks / 4; // of a step's columns
    static constexpr unsigned kTileRows = device::kTileRows, kTileBytes = 4 * kTileRows, kApart = kTileRows / kBatch;

  public:
    /// Of even and odd steps: one is filled while the other is sent.
    struct Shared {
        unsigned scales[2][kTiles][kMaxThreads / kWarp][kBatch]; // a word's bytes: a row's four blocks
    };

    __device__ RowsInTiles(const MoeArguments& a, int source, Shared& shared)
        : a_(a), shared_(shared), warp_(threadIdx.x / kWarp), lane_(threadIdx.x % kWarp), warps_(blockDim.x / kWarp),
          first_row_(a.first[source] / a.vectors_per_row), end_row_(a.first[source + 1] / a.vectors_per_row),
          groups_((kApart + warps_ - 1) / warps_), chunks_((a.vectors_per_row + kWarp - 1) / kWarp) {
        const unsigned tiles = (end_row_ + kTileRows - 1) / kTileRows - first_row_ / kTileRows;
        steps_ = first_row_ == end_row_ ? 0 : tiles * groups_ * chunks_;
    }

    __device__ bool has(unsigned step) const { return number(step) < steps_; }

    /// From the input of the source.
    __device__ __forceinline__ void load(unsigned step, Vector (&x)[kBatch]) const {
        const At at = place(step);
#pragma unroll
        for (unsigned k = 0; k < kBatch; ++k)
            x[k] = owns(at, k) ? load_tensor(a_.input, vector(at, k) - a_.first[a_.peers.rank]) : Vector{};
    }

    /// By the whole block; to be called for one step after another.
    template <class To>
    __device__ __forceinline__ void store(unsigned step, const Batch<D, Quant::fp4>& batch, To ranks) const {
        const At at = place(step);
        auto& scales = shared_.scales[step % 2];
        const unsigned block = lane_ / kLanesPerBlock<D>;
        if (lane_ % kLanesPerBlock<D> == 0) {
#pragma unroll
            for (unsigned k = 0; k < kBatch; ++k)
                reinterpret_cast<unsigned char*>(&scales[block / 4][warp_][k])[block % 4] = batch.block_scale[k];
        }
        store_codes(at, batch.codes, ranks);
        __syncthreads();
        store_scales(at, ranks, [&](unsigned tile, unsigned of_warp, unsigned k, std::uint64_t) {
            return scales[tile][of_warp][k];
        });
    }

    /// From this rank's output to others'. A thread sends one word of scales: all loads are in flight together.
    __device__ __forceinline__ void relay(unsigned step, Ranks ranks) const {
        const At at = place(step);
        const auto* const output = static_cast<const Codes<D, Quant::fp4>*>(a_.output[a_.peers.rank]);
        const auto* const scales = static_cast<const unsigned char*>(a_.output_scales[a_.peers.rank]);
        Codes<D, Quant::fp4> codes[kBatch];
#pragma unroll
        for (unsigned k = 0; k < kBatch; ++k)
            if (owns(at, k)) codes[k] = output[vector(at, k)];
        const unsigned columns =
            (a_.vectors_per_row / kLanesPerBlock<D> + 3) / 4; // of words; a row's last step has more
        store_scales(at, ranks, [&](unsigned tile, unsigned, unsigned, std::uint64_t offset) {
            return at.chunk * kTiles + tile < columns ? *reinterpret_cast<const unsigned*>(scales + offset) : 0;
        });
        store_codes(at, codes, ranks);
    }

  private:
    struct At {
        unsigned tile, group, chunk; // group: of rows of the tile, one for each warp and k; chunk: 32 vectors of them
    };
    template <class To>
    __device__ __forceinline__ void store_codes(const At& at, const Codes<D, Quant::fp4> (&codes)[kBatch],
                                                To ranks) const {
        for_each_rank(a_.peers, ranks, [&](int to) {
#pragma unroll
            for (unsigned k = 0; k < kBatch; ++k)
                if (owns(at, k))
                    put(to == a_.peers.rank, static_cast<Codes<D, Quant::fp4>*>(a_.output[to]) + vector(at, k),
                        codes[k]);
        });
    }
    /// Words of four(tile of the step's columns, warp, k, offset in the scales).
    template <class To, class Four>
    __device__ __forceinline__ void store_scales(const At& at, To ranks, Four word) const {
        for (unsigned i = threadIdx.x; i < kTiles * warps_ * kBatch; i += blockDim.x) {
            const unsigned tile = i / (warps_ * kBatch), of_warp = i / kBatch % warps_, k = i % kBatch;
            const unsigned row_in_32 = at.group * warps_ + of_warp;
            const unsigned row = at.tile * kTileRows + k * kApart + row_in_32;
            if (row_in_32 >= kApart || row < first_row_ || row >= end_row_) continue;
            const unsigned blocks = a_.vectors_per_row / kLanesPerBlock<D>, column = at.chunk * kTiles + tile;
            const std::uint64_t offset =
                (std::uint64_t{at.tile} * ((blocks + 3) / 4) + column) * kTileBytes + row_in_32 * (4 * kBatch) + k * 4;
            const unsigned four = word(tile, of_warp, k, offset);
            for_each_rank(a_.peers, ranks, [&](int to) {
                auto* const there = static_cast<unsigned char*>(a_.output_scales[to]) + offset;
                const bool own = to == a_.peers.rank;
                if (4 * column + 4 <= blocks)
                    put(own, reinterpret_cast<unsigned*>(there), four);
                else // the row's end; behind it is padding
                    for (unsigned byte = 0; 4 * column + byte < blocks; ++byte)
                        put(own, there + byte, static_cast<unsigned char>(four >> (8 * byte)));
            });
        }
    }
    __device__ unsigned number(unsigned step) const { return blockIdx.x + step * gridDim.x; }
    __device__ At place(unsigned step) const {
        const unsigned rows = number(step) / chunks_;
        return {first_row_ / kTileRows + rows / groups_, rows % groups_, number(step) % chunks_};
    }
    __device__ unsigned row(const At& at, unsigned k) const {
        return at.tile * kTileRows + k * kApart + at.group * warps_ + warp_;
    }
    __device__ unsigned vector(const At& at, unsigned k) const {
        return row(at, k) * a_.vectors_per_row + at.chunk * kWarp + lane_;
    }
    __device__ bool owns(const At& at, unsigned k) const {
        return at.group * warps_ + warp_ < kApart && row(at, k) >= first_row_ && row(at, k) < end_row_ &&
               at.chunk * kWarp + lane_ < a_.vectors_per_row;
    }

    const MoeArguments& a_;
    Shared& shared_;
    unsigned warp_, lane_, warps_, first_row_, end_row_, groups_, chunks_, steps_;
};

} // namespace crossover::device
