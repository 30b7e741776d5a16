/* C API of the fused kernels: libcrossover_kernels. crossover_kernels.hpp is the same for C++.
 *
 *     crossover_workspace* workspace;
 *     crossover_workspace_create(comm, crossover_workspace_bytes(world_size, largest_message), &workspace);
 *     crossover_fused_allreduce(workspace, CROSSOVER_ONESHOT, &call, NULL, stream);
 *
 * All ranks of a world issue the same sequence of calls on their workspace, each in one stream, with the same launches.
 * Results of the two algorithms are bit-identical, on every rank. Calls may be captured in CUDA graphs. Functions
 * return a status and throw nothing; crossover_last_error() says more. Not thread-safe for one workspace.
 *
 * Oneshot sends a rank's whole input to every other, twoshot the shares that others sum, and then their sums. The
 * names, and data that are their own flags ("Lamport"), are those of TensorRT-LLM's allReduceFusionKernels.cu. RMSNorm:
 * Zhang and Sennrich 2019, arXiv:1910.07467. */
#ifndef CROSSOVER_KERNELS_H
#define CROSSOVER_KERNELS_H

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    CROSSOVER_OK = 0,
    CROSSOVER_INVALID = 1,     /* an argument that makes no sense: null, out of range */
    CROSSOVER_UNSUPPORTED = 2, /* the kernels cannot run this call; nothing was enqueued */
    CROSSOVER_FAILED = 3,      /* a CUDA or NCCL call failed */
    CROSSOVER_TIMEOUT = 4      /* a rank waited for another in vain; outputs since then mean nothing, on any rank */
} crossover_status;

/* What the last call of this thread that did not return CROSSOVER_OK had to say: one line. */
const char* crossover_last_error(void);

typedef enum { CROSSOVER_BFLOAT16, CROSSOVER_FLOAT16, CROSSOVER_FLOAT32 } crossover_dtype;
typedef enum {
    CROSSOVER_ALLREDUCE,
    CROSSOVER_ALLREDUCE_RMSNORM,
    CROSSOVER_ALLREDUCE_RESIDUAL_RMSNORM,
    /* Each rank holds the residual of its own tokens only: token t is rank t mod world_size's, in row t / world_size.
     * Twoshot; the output is as above, on every rank, to the bit. */
    CROSSOVER_ALLREDUCE_RESIDUAL_RMSNORM_SHARDED
} crossover_pattern;
typedef enum { CROSSOVER_QUANT_NONE, CROSSOVER_QUANT_FP8, CROSSOVER_QUANT_FP4 } crossover_quant;
typedef enum { CROSSOVER_SCALES_SWIZZLED, CROSSOVER_SCALES_LINEAR } crossover_scale_layout;
typedef enum { CROSSOVER_ONESHOT, CROSSOVER_TWOSHOT } crossover_algorithm;

/* One call. Pointers are device memory of this rank, aligned to 16 bytes, rows contiguous. gamma and quant_scale are
 * read while the kernel ahead in the stream may still run: where that kernel writes them, launch with pdl = 0. */
typedef struct {
    crossover_pattern pattern;
    crossover_dtype dtype;
    crossover_quant quant;
    crossover_scale_layout scale_layout; /* of output_scales */
    int64_t num_tokens;
    int64_t hidden_dim;       /* a multiple of 8, of 16 with fp4 */
    const void* input;        /* [num_tokens, hidden_dim], this rank's contribution */
    const void* residual_in;  /* [num_tokens, hidden_dim], the same on every rank; null without a residual. Sharded:
                                 [ceil((num_tokens - rank) / world_size), hidden_dim], this rank's tokens */
    void* residual_out;       /* the same shape, may be residual_in; null without a residual */
    const void* gamma;        /* [hidden_dim]; null without a norm */
    void* output;             /* none: [num_tokens, hidden_dim] of dtype; fp8: bytes; fp4: half that */
    void* output_scales;      /* fp4: e4m3, num_tokens × hidden_dim/16, padded to 128 × 4 tiles if swizzled */
    const float* quant_scale; /* device scalar; fp8: value = code × it; fp4: value = code × its block's scale / it,
                                 the global scale of engines: 448 × 6 / largest value */
    float eps;                /* of the norm: added to a row's mean square, e.g. 1e-6f */
} crossover_call;

/* How a launch is cut up; the same on all ranks. From a table, or crossover_default_launch(). */
typedef struct {
    int cluster_size;   /* CTAs that share one token's row, 1…16 */
    int clusters;       /* tokens in flight */
    int threads;        /* per CTA: a multiple of 32, at most 512 */
    int push_ahead;     /* a row is sent this many iterations before it is summed */
    int consume_behind; /* twoshot: a row is normed this many iterations after it is summed */
    int pdl;            /* not 0: programmatic dependent launch, with which a table's launches were measured */
} crossover_launch;

typedef struct crossover_workspace crossover_workspace;

/* Bytes per rank with which both algorithms serve messages up to max_message_bytes (of one rank's input) by the default
 * launch that they would have with 64 MiB, the most that it returns; rows of less than 2 KiB perhaps by fewer CTAs. */
size_t crossover_workspace_bytes(int world_size, uint64_t max_message_bytes);

/* Collective over comm, with the same bytes on every rank: symmetric memory through NCCL windows, cudaIpc where there
 * are none. comm must outlive the workspace and stays the caller's. The current device is the rank's. The libnccl of
 * the process is of the version, to the patch, that this library was built with: CROSSOVER_INVALID if not. */
crossover_status crossover_workspace_create(ncclComm_t comm, size_t bytes, crossover_workspace** workspace);

/* Without NCCL: `base[r]` is where rank r's memory of `bytes` bytes, the same on every rank (cudaMalloc, exchanged by
 * cudaIpc or within the process), is mapped here, aligned to 16 bytes. The memory stays the caller's. Clears this
 * rank's part and waits for that; after it, and before the first call on any rank, all ranks must meet at a barrier of
 * the caller's. Where GPUs differ in their multiprocessors, so do default launches: then give each call its launch. */
crossover_status crossover_workspace_from_pointers(int rank, int world_size, void* const* base, size_t bytes,
                                                   crossover_workspace** workspace);

/* How long a wait on the device may last, in calls from here on: 2 s if this is not called, and the graphs captured
 * before keep theirs. Ranks may differ by nearly as much in when they come to a call, first calls included, which load
 * the kernels. Nanoseconds, not 0; UINT64_MAX: as good as for ever. */
crossover_status crossover_workspace_set_timeout(crossover_workspace* workspace, uint64_t timeout_ns);

/* After CROSSOVER_TIMEOUT, for calls to mean something again. By all ranks, once they know (say, by the status of
 * crossover_check all-reduced). Waits for the stream of the calls, then clears this rank's part and waits for that. One
 * made from an ncclComm_t: collective. From pointers: all ranks meet at a barrier of the caller's before it, when their
 * calls have ended, and after it. */
crossover_status crossover_workspace_reset(crossover_workspace* workspace, cudaStream_t stream);

/* No call may be in flight, on any rank. One made from an ncclComm_t is destroyed by all ranks together. Null is
 * allowed. */
void crossover_workspace_destroy(crossover_workspace* workspace);

/* Good on H200 for this shape, and within this workspace: what crossover_fused_allreduce() takes without a launch.
 * CROSSOVER_UNSUPPORTED where that would refuse the call, which is to be complete, pointers included. */
crossover_status crossover_default_launch(const crossover_workspace* workspace, crossover_algorithm algorithm,
                                          const crossover_call* call, crossover_launch* launch);

/* Enqueues one call. launch may be null: the default then. */
crossover_status crossover_fused_allreduce(const crossover_workspace* workspace, crossover_algorithm algorithm,
                                           const crossover_call* call, const crossover_launch* launch,
                                           cudaStream_t stream);

/* Around the experts of a data-parallel MoE, where ranks have different numbers of tokens, none and all included: the
 * `push` of tables. All ranks give the same tokens and launch; mixes with crossover_fused_allreduce() on one workspace.
 * Input and output do not overlap, but for a dispatch without quantization whose input is its slice of the output. */
enum { CROSSOVER_MAX_WORLD_SIZE = 8 };

/* Before the experts: this rank's rows, quantized, go straight into every rank's output, which has all rows in rank
 * order, the same bits on every rank. After a time-out peers may still write there until all ranks have reset. */
typedef struct {
    crossover_dtype dtype;
    crossover_quant quant;
    crossover_scale_layout scale_layout;      /* of output_scales */
    int64_t hidden_dim;                       /* a multiple of 8, of 16 with fp4 */
    int64_t tokens[CROSSOVER_MAX_WORLD_SIZE]; /* of each rank; 0 beyond the world */
    const void* input;                        /* [tokens[rank], hidden_dim]; anything for a rank without tokens */
    /* Every rank's memory as it is mapped in this process (NCCL windows, cudaIpc): [all tokens, hidden_dim] as
     * crossover_call's output, and its output_scales, aligned to 4 bytes if swizzled. Read in the stream of the calls,
     * after this one and before the next. */
    void* output[CROSSOVER_MAX_WORLD_SIZE];
    void* output_scales[CROSSOVER_MAX_WORLD_SIZE];
    const float* quant_scale; /* as crossover_call's; the same value on every rank */
} crossover_moe_dispatch_call;

/* After the experts: each rank gets the sums of its own rows, in rank order, in fp32, rounded once. */
typedef struct {
    crossover_dtype dtype;
    int64_t hidden_dim;                       /* a multiple of 8 */
    int64_t tokens[CROSSOVER_MAX_WORLD_SIZE]; /* as of the dispatch */
    const void* input;                        /* [all tokens, hidden_dim]: this rank's part of every row's sum */
    void* output;                             /* [tokens[rank], hidden_dim] */
} crossover_moe_combine_call;

typedef struct {
    int ctas;
    int threads; /* per CTA: a multiple of 32, at most 512 */
    int pdl;     /* as crossover_launch's */
    int relays;  /* not 0: rows that a rank has beyond the others go by way of peers */
} crossover_moe_launch;

/* As crossover_default_launch() and crossover_fused_allreduce(). */
crossover_status crossover_moe_dispatch_default_launch(const crossover_workspace* workspace,
                                                       const crossover_moe_dispatch_call* call,
                                                       crossover_moe_launch* launch);
crossover_status crossover_moe_combine_default_launch(const crossover_workspace* workspace,
                                                      const crossover_moe_combine_call* call,
                                                      crossover_moe_launch* launch);
crossover_status crossover_moe_dispatch(const crossover_workspace* workspace, const crossover_moe_dispatch_call* call,
                                        const crossover_moe_launch* launch, cudaStream_t stream);
crossover_status crossover_moe_combine(const crossover_workspace* workspace, const crossover_moe_combine_call* call,
                                       const crossover_moe_launch* launch, cudaStream_t stream);

/* Waits for the stream. CROSSOVER_TIMEOUT, and who waited for whom, if a wait on the device has run into its limit
 * since the workspace was made or reset: on this rank or on another, whose memory is read. */
crossover_status crossover_check(const crossover_workspace* workspace, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
