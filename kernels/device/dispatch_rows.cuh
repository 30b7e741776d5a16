#pragma once
/// How a rank's rows are dealt to the threads of a dispatch, and go to every rank: kBatch vectors of a thread in each
/// step of its CTA.

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

/// store(to) for all ranks: every rank begins with another one, and ends with itself.
template <class Store>
__device__ __forceinline__ void for_each_rank(const Peers& peers, Store store) {
    for (int hop = 1; hop <= peers.world_size; ++hop)
        store(peers.rank + hop < peers.world_size ? peers.rank + hop : peers.rank + hop - peers.world_size);
}

template <class T>
__device__ __forceinline__ void put(bool own, T* address, const T& value) {
    if (own)
        *address = value;
    else
        store_to_peer(address, value);
}

/// The rows as one sequence of vectors, dealt to the threads of the grid in turns: balanced at any number of rows.
template <DType D, Quant Q>
class RowsInTurns {
  public:
    struct Shared {};

    __device__ RowsInTurns(const MoeArguments& a, Shared&)
        : a_(a), first_(a.first[a.peers.rank]), end_(a.first[a.peers.rank + 1]), stride_(gridDim.x * blockDim.x) {}

    /// Whether any of the CTA's threads has something in this step.
    __device__ bool has(unsigned step) const { return vector(step, 0) - threadIdx.x < end_; }

    __device__ __forceinline__ void load(unsigned step, Vector (&x)[kBatch]) const {
#pragma unroll
        for (unsigned k = 0; k < kBatch; ++k)
            x[k] = vector(step, k) < end_ ? load_tensor(a_.input, vector(step, k) - first_) : Vector{};
    }

    __device__ __forceinline__ void store(unsigned step, const Batch<D, Q>& batch) const {
        std::uint64_t scale_at[kBatch];
        if constexpr (Q == Quant::fp4) {
            const unsigned blocks = a_.vectors_per_row / kLanesPerBlock<D>;
#pragma unroll
            for (unsigned k = 0; k < kBatch; ++k) {
                const unsigned row = vector(step, k) / a_.vectors_per_row;
                const unsigned block = (vector(step, k) - row * a_.vectors_per_row) / kLanesPerBlock<D>;
                scale_at[k] = scale_offset(row, block, blocks, a_.swizzled_scales);
            }
        }
        for_each_rank(a_.peers, [&](int to) {
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

  private:
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
    static constexpr unsigned kTileRows = 128, kTileBytes = 4 * kTileRows, kApart = kTileRows / kBatch;

  public:
    /// Of even and odd steps: one is filled while the other is sent.
    struct Shared {
        unsigned scales[2][kTiles][kMaxThreads / kWarp][kBatch]; // a word's bytes: a row's four blocks
    };

    __device__ RowsInTiles(const MoeArguments& a, Shared& shared)
        : a_(a), shared_(shared), warp_(threadIdx.x / kWarp), lane_(threadIdx.x % kWarp), warps_(blockDim.x / kWarp),
          first_row_(a.first[a.peers.rank] / a.vectors_per_row),
          end_row_(a.first[a.peers.rank + 1] / a.vectors_per_row), groups_((kApart + warps_ - 1) / warps_),
          chunks_((a.vectors_per_row + kWarp - 1) / kWarp) {
        const unsigned tiles = (end_row_ + kTileRows - 1) / kTileRows - first_row_ / kTileRows;
        steps_ = first_row_ == end_row_ ? 0 : tiles * groups_ * chunks_;
    }

    __device__ bool has(unsigned step) const { return number(step) < steps_; }

    __device__ __forceinline__ void load(unsigned step, Vector (&x)[kBatch]) const {
        const At at = place(step);
#pragma unroll
        for (unsigned k = 0; k < kBatch; ++k)
            x[k] = owns(at, k) ? load_tensor(a_.input, vector(at, k) - a_.first[a_.peers.rank]) : Vector{};
    }

    __device__ __forceinline__ void store(unsigned step, const Batch<D, Quant::fp4>& batch) const {
        const At at = place(step);
        auto& scales = shared_.scales[step % 2];
        const unsigned block = lane_ / kLanesPerBlock<D>;
        if (lane_ % kLanesPerBlock<D> == 0) {
#pragma unroll
            for (unsigned k = 0; k < kBatch; ++k)
                reinterpret_cast<unsigned char*>(&scales[block / 4][warp_][k])[block % 4] = batch.block_scale[k];
        }
        for_each_rank(a_.peers, [&](int to) {
#pragma unroll
            for (unsigned k = 0; k < kBatch; ++k)
                if (owns(at, k))
                    put(to == a_.peers.rank, static_cast<Codes<D, Quant::fp4>*>(a_.output[to]) + vector(at, k),
                        batch.codes[k]);
        });
        __syncthreads();
        for (unsigned i = threadIdx.x; i < kTiles * warps_ * kBatch; i += blockDim.x) {
            const unsigned tile = i / (warps_ * kBatch), of_warp = i / kBatch % warps_, k = i % kBatch;
            const unsigned row_in_32 = at.group * warps_ + of_warp;
            const unsigned row = at.tile * kTileRows + k * kApart + row_in_32;
            if (row_in_32 >= kApart || row < first_row_ || row >= end_row_) continue;
            const unsigned blocks = a_.vectors_per_row / kLanesPerBlock<D>, column = at.chunk * kTiles + tile;
            const std::uint64_t offset =
                (std::uint64_t{at.tile} * ((blocks + 3) / 4) + column) * kTileBytes + row_in_32 * (4 * kBatch) + k * 4;
            const unsigned four = scales[tile][of_warp][k];
            for_each_rank(a_.peers, [&](int to) {
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

  private:
    struct At {
        unsigned tile, group, chunk; // group: of rows of the tile, one for each warp and k; chunk: 32 vectors of them
    };
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
