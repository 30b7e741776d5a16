#pragma once
/// From the reduced row r to the outputs: residual, sum of squares, norm, quantization. Shared by every algorithm, so
/// that their results agree bit for bit.

#include "kernels/device/place.cuh"
#include "kernels/device/protocol.cuh"
#include "kernels/device/quantize.cuh"
#include "kernels/device/row_sum.cuh"

namespace crossover::device {

/// By value and by word: a conditional between array elements would put the array into local memory.
__device__ __forceinline__ Vector select(bool first, Vector a, Vector b) {
    return {first ? a.x : b.x, first ? a.y : b.y, first ? a.z : b.z, first ? a.w : b.w};
}

/// Of the other ranks' contributions, in rank order with this rank left out, the one of `rank`.
__host__ __device__ constexpr int without(int own_rank, int rank) { return rank - (rank > own_rank); }

/// r = round(Σ x_rank + residual), or round(Σ x_rank): in rank order, fp32, one rounding. others[without(rank, peer)]
/// is the peer's x.
template <DType D, int N>
__device__ __forceinline__ Vector reduced(const Vector (&others)[N], int rank, const Vector& own, const Arguments& a,
                                          const Vector& residual) {
    // The last element of `others` is padding: no rank but the own one could be there.
    Floats<D> sum = unpack<D>(select(rank == 0, own, others[0]));
#pragma unroll
    for (int peer = 1; peer < N; ++peer)
        add<D>(sum, select(peer == rank, own, select(peer > rank, others[peer - 1], others[peer])));
    if (a.has_residual) add<D>(sum, residual);
    return pack<D>(sum);
}

/// A thread's share of the epilogue: K units a row, one vector in each.
template <DType D, Quant Q, int K>
class Epilogue {
  public:
    /// Loads gamma and the quantization scale: weights, so before the PDL wait.
    __device__ Epilogue(const Arguments& a, const Place& place) : a_(a), place_(place) {
        if (!a.has_norm) return;
#pragma unroll
        for (int k = 0; k < K; ++k)
            gamma_[k] = place.has(a, k) ? load_tensor(a.gamma, place.vector(a, 0, k)) : Vector{};
        if constexpr (Q == Quant::fp8) scale_ = 1.0f / *a.quant_scale;
        if constexpr (Q == Quant::fp4) scale_ = *a.quant_scale;
    }

    /// Writes the outputs of one row from r, of which this thread holds r[k] where place.has(k) and zeros elsewhere. By
    /// all threads of the cluster, rows in order.
    __device__ __forceinline__ void finish(const Vector (&r)[K], std::int64_t token, int row, RowSum& row_sum) {
#pragma unroll
        for (int k = 0; k < K; ++k) {
            if (!place_.has(a_, k)) continue;
            if (a_.has_residual) store_tensor(a_.residual_out, place_.vector(a_, token, k), r[k]);
            if (!a_.has_norm) store_tensor(a_.output, place_.vector(a_, token, k), r[k]);
        }
#pragma unroll
        for (int k = 0; k < K; ++k)
            if (k < place_.units) row_sum.give(row, place_.first_unit + k, warp_sum(sum_of_squares(r[k])));
        if (!row_sum.takes_part(place_.units)) return;
        const float rstd = rsqrtf(row_sum.total(row) * a_.one_over_hidden + a_.eps);
        // Without a norm the row sum still keeps the warps of a row together: without it 6 of 24 runs timed out, with
        // it 0 of 16 (all-reduce before a norm kernel, 5120 elements, 512–768 tokens, 4 ranks). The cause is not known.
        if (!a_.has_norm) return;
#pragma unroll
        for (int k = 0; k < K; ++k)
            if (k < place_.units) write_quantized(normed(r[k], rstd, k), token, k);
    }

    /// Writes y, a row's k-th unit, rounded or quantized. By whole warps: fp4 blocks span lanes.
    __device__ __forceinline__ void write_quantized(const Floats<D>& y, std::int64_t token, int k) const {
        const std::int64_t vector = place_.vector(a_, token, k);
        if constexpr (Q == Quant::none) {
            if (place_.has(a_, k)) store_tensor(a_.output, vector, pack<D>(y));
        } else if constexpr (Q == Quant::fp8) {
            unsigned word[kSize / 4];
#pragma unroll
            for (int i = 0; i < kSize / 4; ++i)
                word[i] = e4m3_pair(y.at[4 * i] * scale_, y.at[4 * i + 1] * scale_) |
                          e4m3_pair(y.at[4 * i + 2] * scale_, y.at[4 * i + 3] * scale_) << 16;
            if (!place_.has(a_, k)) return;
            if constexpr (kSize == 8)
                static_cast<uint2*>(a_.output)[vector] = {word[0], word[1]};
            else
                static_cast<unsigned*>(a_.output)[vector] = word[0];
        } else {
            write_fp4(y, vector, token, k);
        }
    }

  private:
    static constexpr int kSize = Floats<D>::size;

    __device__ static float sum_of_squares(const Vector& r) {
        const Floats<D> f = unpack<D>(r);
        float sum = 0;
#pragma unroll
        for (int i = 0; i < kSize; ++i) sum = __fmaf_rn(f.at[i], f.at[i], sum);
        return sum;
    }

    __device__ __forceinline__ Floats<D> normed(const Vector& r, float rstd, int k) const {
        Floats<D> y = unpack<D>(r);
        const Floats<D> gamma = unpack<D>(gamma_[k]);
#pragma unroll
        for (int i = 0; i < kSize; ++i) y.at[i] = __fmul_rn(__fmul_rn(y.at[i], rstd), gamma.at[i]);
        return y;
    }

    __device__ __forceinline__ void write_fp4(const Floats<D>& y, std::int64_t vector, std::int64_t token,
                                              int k) const {
        constexpr int lanes_per_block = kFp4Block / kSize;
        float largest = 0;
#pragma unroll
        for (int i = 0; i < kSize; ++i) largest = fmaxf(largest, fabsf(y.at[i]));
#pragma unroll
        for (int offset = 1; offset < lanes_per_block; offset *= 2)
            largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, offset));
        const unsigned char block_scale =
            static_cast<unsigned char>(e4m3_pair(__fdiv_rn(__fmul_rn(scale_, largest), 6.0f), 0.0f) & 0xFF);
        const float scale_back = e4m3_to_float(block_scale);
        const float factor = scale_back == 0.0f ? 0.0f : __fdiv_rn(scale_, scale_back);
        unsigned codes = 0;
#pragma unroll
        for (int i = 0; i < kSize / 2; ++i)
            codes |= e2m1_pair(y.at[2 * i] * factor, y.at[2 * i + 1] * factor) << (8 * i);
        if (!place_.has(a_, k)) return;
        if constexpr (kSize == 8)
            static_cast<unsigned*>(a_.output)[vector] = codes;
        else
            static_cast<unsigned short*>(a_.output)[vector] = static_cast<unsigned short>(codes);
        if (place_.lane % lanes_per_block == 0) {
            const int block = ((place_.first_unit + k) * kWarp + place_.lane) / lanes_per_block;
            const int blocks = a_.vectors_per_row / lanes_per_block;
            static_cast<unsigned char*>(a_.output_scales)[scale_offset(token, block, blocks, a_.swizzled_scales)] =
                block_scale;
        }
    }

    const Arguments& a_;
    const Place& place_;
    Vector gamma_[K];
    float scale_ = 1;
};

} // namespace crossover::device
