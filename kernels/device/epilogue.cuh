#pragma once
/// From the reduced row r to the outputs: residual, sum of squares, norm, quantization. Shared by every algorithm, so
/// that their results agree bit for bit.

#include "kernels/device/place.cuh"
#include "kernels/device/protocol.cuh"
#include "kernels/device/quantize.cuh"
#include "kernels/device/rank_sum.cuh"
#include "kernels/device/row_sum.cuh"

namespace crossover::device {

/// r = round(Σ x_rank + residual), or round(Σ x_rank): one rounding.
template <DType D>
__device__ __forceinline__ Vector reduced(Floats<D> sum, bool has_residual, const Vector& residual) {
    if (has_residual) add<D>(sum, residual);
    return pack<D>(sum);
}

/// A thread's share of the epilogue: K units a row, one vector in each.
template <DType D, Quant Q, int K>
class Epilogue {
  public:
    /// Loads gamma and the quantization scale: weights, so before the PDL wait.
    __device__ Epilogue(const Arguments& a, const Place& place)
        : a_(a), place_(place), has_residual_(held(static_cast<int>(a.has_residual))),
          has_norm_(held(static_cast<int>(a.has_norm))) {
        if (!a.has_norm) return;
#pragma unroll
        for (int k = 0; k < K; ++k)
            gamma_[k] = place.has(k) ? load_tensor(a.gamma, (place.first_unit + k) * kWarp + place.lane) : Vector{};
        factor_ = quant_factor<Q>(a.quant_scale);
    }

    __device__ bool has_residual() const { return has_residual_; }

    /// r: what is this thread's of a row, the sum of the ranks' inputs and, if there is one, the residual; zeros where
    /// it has nothing. Its first vector is the input's `row`-th and the residual's `residual_row`-th; the peers' k-th
    /// is waited for in slot(without(rank, peer), k), and empty_slots() is to follow.
    template <int N, class Slot>
    __device__ __forceinline__ void receive(Vector (&r)[K], std::int64_t row, bool has_residual,
                                            std::int64_t residual_row, Slot slot, int iteration,
                                            Patience& patience) const {
        Vector residual[K];
#pragma unroll
        for (int k = 0; k < K; ++k)
            if (place_.has(k) && has_residual) residual[k] = load_tensor(a_.residual_in, residual_row + k * kWarp);
#pragma unroll
        for (int k = 0; k < K; ++k) {
            r[k] = Vector{};
            if (!place_.has(k)) continue;
            const Vector* const own = static_cast<const Vector*>(a_.input) + row + k * kWarp;
            const auto sum = receive_sum<D, N>(
                own, [&](int other) { return slot(other, k); }, a_.peers.rank, iteration, patience);
            r[k] = reduced<D>(sum, has_residual, residual[k]);
        }
    }

    /// Before a step of a CTA's loop over rows. Warps that drift apart take 20 % longer (64 MiB, 2 ranks); a norm keeps
    /// them together by itself.
    __device__ __forceinline__ void keep_together(bool first_step) const {
        if (!has_norm_ && !first_step) __syncthreads();
    }

    /// Before the wait for a row's data. By all threads of the cluster, rows in order.
    __device__ __forceinline__ void begin(RowSum& row_sum) const {
        if (has_norm_) row_sum.begin();
    }

    /// Writes the outputs of one row from r, of which this thread holds r[k] where place.has(k) and zeros elsewhere. By
    /// all threads of the cluster, after begin(). What nobody waits for, meanwhile() and the residual, comes where the
    /// cluster's sums are on their way.
    template <class Meanwhile>
    __device__ __forceinline__ void finish(const Vector (&r)[K], const Row& row, RowSum& row_sum, Meanwhile meanwhile) {
        // Lanes leave the wait for their data one after the other, and would go on so: 2–5 % (4 ranks, up to 2 MiB).
        __syncwarp();
        if (has_norm_) give_squares(r, row_sum);
        meanwhile();
#pragma unroll
        for (int k = 0; k < K; ++k) {
            if (!place_.has(k)) continue;
            if (has_residual_) store_tensor(a_.residual_out, row.vector + k * kWarp, r[k]);
            if (!has_norm_) store_tensor(a_.output, row.vector + k * kWarp, r[k]);
        }
        if (!has_norm_ || !row_sum.takes_part()) return;
        const float rstd = this->rstd(row_sum);
#pragma unroll
        for (int k = 0; k < K; ++k)
            if (k < place_.units) write_quantized(normed(r[k], rstd, k), row, k);
    }

    /// This warp's part of a row's sum of squares; if it takes part in the sum, 1 / √(mean + eps) of it follows.
    __device__ __forceinline__ void give_squares(const Vector (&r)[K], RowSum& row_sum) const {
#pragma unroll
        for (int k = 0; k < K; ++k)
            if (k < place_.units) row_sum.give(place_.first_unit + k, sum_of_squares(r[k]));
    }
    __device__ __forceinline__ float rstd(RowSum& row_sum) const {
        return rsqrtf(row_sum.total() * a_.one_over_hidden + a_.eps);
    }

    /// y, a row's k-th unit; and in fp8 or fp4, by whole warps.
    __device__ __forceinline__ Floats<D> normed(const Vector& r, float rstd, int k) const {
        Floats<D> y = unpack<D>(r);
        const Floats<D> gamma = this->gamma(k);
#pragma unroll
        for (int i = 0; i < kSize; ++i) y.at[i] = __fmul_rn(__fmul_rn(y.at[i], rstd), gamma.at[i]);
        return y;
    }
    __device__ __forceinline__ Quantized<D, Q> quantized(const Floats<D>& y) const {
        return device::quantized<D, Q>(y, factor_);
    }

    /// Writes a row's k-th unit.
    __device__ __forceinline__ void write(const Quantized<D, Q>& q, const Row& row, int k) const {
        if (!place_.has(k)) return;
        static_cast<Codes<D, Q>*>(a_.output)[row.vector + k * kWarp] = q.codes;
        if (Q != Quant::fp4 || place_.lane % kLanesPerBlock<D> != 0) return;
        const unsigned block = static_cast<unsigned>((place_.first_unit + k) * kWarp + place_.lane) / kLanesPerBlock<D>;
        const unsigned blocks = static_cast<unsigned>(a_.vectors_per_row) / kLanesPerBlock<D>;
        static_cast<unsigned char*>(a_.output_scales)[scale_offset(row.token, block, blocks, a_.swizzled_scales)] =
            q.block_scale;
    }
    /// y, rounded or quantized. By whole warps.
    __device__ __forceinline__ void write_quantized(const Floats<D>& y, const Row& row, int k) const {
        write(quantized(y), row, k);
    }

  private:
    static constexpr int kSize = Floats<D>::size;

    /// Unpacked for every row: the compiler would keep floats, in twice the registers, and spill others (up to 0.7 %).
    __device__ __forceinline__ Floats<D> gamma(int k) const {
        const Vector& packed = gamma_[k];
        return unpack<D>({held(packed.x), held(packed.y), held(packed.z), held(packed.w)});
    }

    __device__ static float sum_of_squares(const Vector& r) {
        const Floats<D> f = unpack<D>(r);
        float even = __fmul_rn(f.at[0], f.at[0]), odd = __fmul_rn(f.at[1], f.at[1]);
#pragma unroll
        for (int i = 2; i < kSize; i += 2) {
            even = __fmaf_rn(f.at[i], f.at[i], even);
            odd = __fmaf_rn(f.at[i + 1], f.at[i + 1], odd);
        }
        return even + odd;
    }

    const Arguments& a_;
    const Place& place_;
    int has_residual_, has_norm_;
    Vector gamma_[K];
    float factor_ = 1;
};

} // namespace crossover::device
