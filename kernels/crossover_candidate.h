/* Bring your own kernel: the C interface between Crossover and a shared library with all-reduce kernels of an engine.
 *
 *     crossover tune --candidate libfoo.so        (again for another library)
 *
 * A library exports one function, crossover_candidate_get(), which describes its kernels. Each is checked against the
 * float64 reference, timed, fitted and emitted like Crossover's own. tests/example_candidate is a whole one.
 *
 * What Crossover does with a candidate, on all ranks of a group in this order:
 *
 *     unsupported   for each call, before anything is made or launched; a reason makes skipped samples of it
 *     create        once a group, when its first call comes
 *     enqueue       one call; first alone, and its outputs are checked; then captured in CUDA graphs and replayed
 *     check         after the stream is idle: has a wait on the device given up?
 *     destroy       when the session ends
 *
 * All ranks of a group (one process and one GPU each) make the same calls in the same order. A library is loaded once a
 * process and serves groups of several world sizes in it, one after the other.
 *
 * Waits on the device should end after timeout_ns: check() then tells, and only that point is lost. A candidate that
 * hangs or crashes nevertheless costs a new session without it at that point, and is given up after three of them.
 *
 * Versions. struct_size and the two version numbers come first in every version. A minor version adds fields at the end
 * of structs and values of codes, nothing else: Crossover takes candidates of any minor version, and candidates find in
 * struct_size which fields there are. Another major version is refused. */
#ifndef CROSSOVER_CANDIDATE_H
#define CROSSOVER_CANDIDATE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { CROSSOVER_CANDIDATE_MAJOR = 1, CROSSOVER_CANDIDATE_MINOR = 0 };

/* What the kernel is in a dispatch table. A oneshot or twoshot takes the place of Crossover's own under that name, and
 * gets the thresholds. Anything else is unfused: it competes to be the baseline, under its own name. */
enum { CROSSOVER_CANDIDATE_ONESHOT = 0, CROSSOVER_CANDIDATE_TWOSHOT = 1, CROSSOVER_CANDIDATE_UNFUSED = 2 };

/* Codes in a call. A later minor version may add some: say of unknown ones that they are unsupported. */
enum { CROSSOVER_CANDIDATE_BFLOAT16 = 0, CROSSOVER_CANDIDATE_FLOAT16 = 1, CROSSOVER_CANDIDATE_FLOAT32 = 2 };
enum {
    CROSSOVER_CANDIDATE_ALLREDUCE = 0,
    CROSSOVER_CANDIDATE_ALLREDUCE_RMSNORM = 1,
    CROSSOVER_CANDIDATE_ALLREDUCE_RESIDUAL_RMSNORM = 2
};
enum { CROSSOVER_CANDIDATE_QUANT_NONE = 0, CROSSOVER_CANDIDATE_QUANT_FP8 = 1, CROSSOVER_CANDIDATE_QUANT_FP4 = 2 };
enum { CROSSOVER_CANDIDATE_SCALES_SWIZZLED = 0, CROSSOVER_CANDIDATE_SCALES_LINEAR = 1 };

typedef struct CUstream_st* crossover_candidate_stream; /* a cudaStream_t */

/* The ranks that a candidate works for, as one of them sees it. Its device is the current one in every call. */
typedef struct {
    uint32_t struct_size;
    int32_t rank;
    int32_t world_size;         /* 2, 4 or 8 */
    int32_t device;             /* CUDA device of this rank */
    int32_t compute_capability; /* 90 for 9.0 */
    int32_t multiprocessors;
    uint64_t max_message_bytes; /* no call has a larger input */
    uint64_t timeout_ns;        /* after which a wait on the device should give up */
    /* Puts every rank's `bytes` bytes (the same number on all, some KiB at most) into `all`, in rank order: how ranks
     * exchange cudaIpc handles, and a barrier. Collective; may be called in create and destroy. Returns 0, or another
     * value if a rank is gone: then return an error, too. */
    int32_t (*all_gather)(void* context, const void* mine, size_t bytes, void* all);
    void* context;
} crossover_candidate_group;

/* One call. Pointers are device memory of this rank, aligned to 16 bytes, rows contiguous; null for unsupported().
 *
 *     r = the ranks' inputs, added, and residual_in      in dtype: residual_out, or the output of ALLREDUCE
 *     y = r / sqrt(mean of the row's r^2 + eps) * gamma
 *     NONE  output = y in dtype
 *     FP8   code = e4m3(y / quant_scale)
 *     FP4   code = e2m1(y * quant_scale / scale), scale = e4m3(quant_scale * max|y| / 6) of 16 values in a row
 *
 * RMSNorm: arXiv:1910.07467. e4m3 and e2m1 (OCP FP8 1.0, Microscaling 1.0) saturate. Ranks may be added in any order
 * and in dtype: right is what kernels/reference.hpp gives within ||out - reference|| / ||reference|| of 1.6e-2 in
 * bfloat16, 2e-3 in float16, 2e-6 in float32, 0.06 quantized to FP8 and 0.15 to FP4. */
typedef struct {
    uint32_t struct_size;
    int32_t pattern;
    int32_t dtype; /* of input, residuals, gamma, and output unless quantized */
    int32_t quant;
    int32_t scale_layout; /* of output_scales */
    float eps;            /* of the norm */
    int64_t num_tokens;   /* 1 or more */
    int64_t hidden_dim;
    const void* input;       /* [num_tokens, hidden_dim], this rank's contribution; not to be written */
    const void* residual_in; /* [num_tokens, hidden_dim], the same on every rank; null without a residual */
    void* residual_out;      /* [num_tokens, hidden_dim]; null without a residual */
    const void* gamma;       /* [hidden_dim]; null without a norm */
    void* output;            /* none: [num_tokens, hidden_dim] of dtype; fp8: bytes; fp4: half that, low nibble first */
    void* output_scales;     /* fp4: e4m3, num_tokens x hidden_dim/16, padded to 128 x 4 tiles if swizzled */
    const float* quant_scale; /* device scalar; fp8: value = code x it; fp4: value = code x its block's scale / it */
} crossover_candidate_call;

/* One kernel. Functions that return int32_t return 0 if all went well; what went wrong is last_error()'s to say. They
 * let no C++ exception out. */
typedef struct {
    uint32_t struct_size; /* sizeof(crossover_candidate) */
    uint16_t major;       /* CROSSOVER_CANDIDATE_MAJOR and MINOR that the library was built with */
    uint16_t minor;
    /* In samples and tables: a lower-case letter, then up to 39 letters, digits and underscores, and no algorithm's of
     * Crossover. */
    const char* name;
    const char* version; /* of the library, for the table's provenance: one line, e.g. "1.4.2" or a commit */
    int32_t role;

    /* Device memory that create() takes on each rank to serve messages up to max_message_bytes. Above the limit of the
     * config, create() is asked for less, and larger messages are skipped. Called without a GPU, too. */
    uint64_t (*workspace_bytes)(int32_t world_size, uint64_t max_message_bytes);
    /* Why it cannot do this call (one line, kept until the next call), or null. The same on all ranks. */
    const char* (*unsupported)(const crossover_candidate_group* group, const crossover_candidate_call* call);
    /* Collective. `state` is handed to the functions below; `group` is valid until destroy() returns. */
    int32_t (*create)(const crossover_candidate_group* group, void** state);
    /* May be captured into a graph: no allocation, no synchronization. Calls in one stream follow each other, on other
     * inputs and in other shapes. */
    int32_t (*enqueue)(void* state, const crossover_candidate_call* call, crossover_candidate_stream stream);
    /* May be null. With an idle stream: not 0 if the outputs since the last check() mean nothing, e.g. because a wait
     * gave up. Makes the candidate fit for the next call; collective, and all ranks are idle. */
    int32_t (*check)(void* state, crossover_candidate_stream stream);
    /* Collective; all streams are idle. */
    void (*destroy)(void* state);
    /* What the last call that did not return 0 had to say: one line. */
    const char* (*last_error)(void);
} crossover_candidate;

/* The library's candidates: index 0, 1, … until it returns null. Valid as long as the library is loaded. */
const crossover_candidate* crossover_candidate_get(uint32_t index);

#ifdef __cplusplus
}
#endif

#endif
