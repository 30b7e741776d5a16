#pragma once
/// From the reduced row r to the outputs: residual, sum of squares, norm, quantization. Shared by every algorithm, so
/// that their results agree bit for bit.

#include "kernels/device/place.cuh"
#include "kernels/device/protocol.cuh"
#include "kernels/device/quantize.cuh"
#include "kernels/device/rank_sum.cuh"
#include "kernels/device/row_sum.cuh"

namespace crossover::device {

/// r = round(Σ x_rank + residual), or round(Σ x_rank): in rank order, fp32, one rounding.
template <DType D, int N>
__device__ __forceinline__ Vector reduced(const Vector (&others)[N], int rank, const Vector& own, const Arguments& a,
                                          const Vector& residual) {
    Floats<D> sum = sum_in_rank_order<D>(others, rank, own);
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
        factor_ = quant_factor<Q>(a.quant_scale);
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
        if (!a_.has_norm) return;
        give_squares(r, row, row_sum);
        if (!row_sum.takes_part(place_.units)) return;
        const float rstd = this->rstd(row, row_sum);
#pragma unroll
        for (int k = 0; k < K; ++k)
            if (k < place_.units) write_quantized(normed(r[k], rstd, k), token, k);
    }

    /// This warp's part of a row's sum of squares; if it takes part in the sum, 1 / √(mean + eps) of it follows.
    __device__ __forceinline__ void give_squares(const Vector (&r)[K], int row, RowSum& row_sum) const {
#pragma unroll
        for (int k = 0; k < K; ++k)
            if (k < place_.units) row_sum.give(row, place_.first_unit + k, warp_sum(sum_of_squares(r[k])));
    }
    __device__ __forceinline__ float rstd(int row, RowSum& row_sum) const {
        return rsqrtf(row_sum.total(row) * a_.one_over_hidden + a_.eps);
    }

    /// y, a row's k-th unit; and in fp8 or fp4, by whole warps.
    __device__ __forceinline__ Floats<D> normed(const Vector& r, float rstd, int k) const {
        Floats<D> y = unpack<D>(r);
        const Floats<D> gamma = unpack<D>(gamma_[k]);
#pragma unroll
        for (int i = 0; i < kSize; ++i) y.at[i] = __fmul_rn(__fmul_rn(y.at[i], rstd), gamma.at[i]);
        return y;
    }
    __device__ __forceinline__ Quantized<D, Q> quantized(const Floats<D>& y) const {
        return device::quantized<D, Q>(y, factor_);
    }

    /// Writes y, a row's k-th unit, rounded or quantized. By whole warps.
    __device__ __forceinline__ void write_quantized(const Floats<D>& y, std::int64_t token, int k) const {
        const std::int64_t vector = place_.vector(a_, token, k);
        if constexpr (Q == Quant::none) {
            if (place_.has(a_, k)) store_tensor(a_.output, vector, pack<D>(y));
        } else {
            const Quantized<D, Q> q = quantized(y);
            if (!place_.has(a_, k)) return;
            static_cast<Codes<D, Q>*>(a_.output)[vector] = q.codes;
            if (Q != Quant::fp4 || place_.lane % kLanesPerBlock<D> != 0) return;
            const int block = ((place_.first_unit + k) * kWarp + place_.lane) / kLanesPerBlock<D>;
            const int blocks = a_.vectors_per_row / kLanesPerBlock<D>;
            static_cast<unsigned char*>(a_.output_scales)[scale_offset(token, block, blocks, a_.swizzled_scales)] =
                q.block_scale;
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

    const Arguments& a_;
    const Place& place_;
    Vector gamma_[K];
    float factor_ = 1;
};

} // namespace crossover::device
