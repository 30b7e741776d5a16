/* How an engine uses libcrossover_kernels from C: one process per GPU, an ncclComm_t of its own, one fused call.
 *
 *     example_kernels [WORLD_SIZE]        2 if left out
 *
 * Every rank contributes a tensor of ones, so each element of the sum is the world size. */
#include "kernels/crossover_kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(call, good, text)                                                                                        \
    do {                                                                                                               \
        if ((call) != (good)) {                                                                                        \
            fprintf(stderr, "%s: %s\n", #call, text);                                                                  \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)
#define CUDA(call) CHECK(call, cudaSuccess, cudaGetErrorString(cudaGetLastError()))
#define NCCL(call) CHECK(call, ncclSuccess, ncclGetLastError(NULL))
#define CROSSOVER(call) CHECK(call, CROSSOVER_OK, crossover_last_error())

enum { TOKENS = 64, HIDDEN = 4096 };
enum { SKIPPED = 77 }; /* for CTest */

/* What the ranks share before they have a communicator. */
struct shared {
    volatile int id_is_set;
    ncclUniqueId id;
};

static void run_rank(int rank, int world_size, struct shared* shared) {
    CUDA(cudaSetDevice(rank));
    if (rank == 0) {
        NCCL(ncclGetUniqueId(&shared->id));
        __sync_synchronize();
        shared->id_is_set = 1;
    }
    while (!shared->id_is_set) usleep(1000);
    __sync_synchronize();
    ncclComm_t comm;
    NCCL(ncclCommInitRank(&comm, world_size, shared->id, rank));

    const size_t elements = (size_t)TOKENS * HIDDEN, bytes = elements * sizeof(float);
    float* host = malloc(bytes);
    for (size_t i = 0; i < elements; ++i) host[i] = 1;
    float *input, *output;
    CUDA(cudaMalloc((void**)&input, bytes));
    CUDA(cudaMalloc((void**)&output, bytes));
    CUDA(cudaMemcpy(input, host, bytes, cudaMemcpyHostToDevice));
    cudaStream_t stream;
    CUDA(cudaStreamCreate(&stream));

    crossover_workspace* workspace;
    CROSSOVER(crossover_workspace_create(comm, crossover_workspace_bytes(world_size, bytes), &workspace));
    const crossover_call call = {.pattern = CROSSOVER_ALLREDUCE,
                                 .dtype = CROSSOVER_FLOAT32,
                                 .num_tokens = TOKENS,
                                 .hidden_dim = HIDDEN,
                                 .input = input,
                                 .output = output};
    for (int algorithm = CROSSOVER_ONESHOT; algorithm <= CROSSOVER_TWOSHOT; ++algorithm) {
        CUDA(cudaMemsetAsync(output, 0, bytes, stream));
        CROSSOVER(crossover_fused_allreduce(workspace, (crossover_algorithm)algorithm, &call, NULL, stream));
        CROSSOVER(crossover_check(workspace, stream));
        CUDA(cudaMemcpy(host, output, bytes, cudaMemcpyDeviceToHost));
        for (size_t i = 0; i < elements; ++i)
            if (host[i] != (float)world_size) {
                fprintf(stderr, "rank %d: element %zu is %g, not %d\n", rank, i, host[i], world_size);
                exit(1);
            }
    }
    if (rank == 0) printf("%d ranks: oneshot and twoshot summed %zu bytes\n", world_size, bytes);

    crossover_workspace_destroy(workspace);
    CUDA(cudaStreamDestroy(stream));
    CUDA(cudaFree(output));
    CUDA(cudaFree(input));
    NCCL(ncclCommDestroy(comm));
    free(host);
}

int main(int argc, char** argv) {
    const int world_size = argc > 1 ? atoi(argv[1]) : 2;
    if (world_size < 2 || world_size > 8) {
        fprintf(stderr, "usage: example_kernels [2, 4 or 8]\n");
        return 2;
    }
    struct shared* shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return 1;
    memset((void*)shared, 0, sizeof *shared);
    for (int rank = 0; rank < world_size; ++rank) {
        const pid_t child = fork(); /* before anything of CUDA, which does not survive a fork */
        if (child < 0) return 1;
        if (child == 0) {
            alarm(60); /* a rank whose peer has died would wait for ever */
            int count = 0;
            if (cudaGetDeviceCount(&count) != cudaSuccess || count < world_size) {
                if (rank == 0) printf("needs %d GPUs\n", world_size);
                exit(SKIPPED);
            }
            run_rank(rank, world_size, shared);
            exit(0);
        }
    }
    int result = 0;
    for (int rank = 0; rank < world_size; ++rank) {
        int status = 0;
        if (wait(&status) < 0) return 1;
        const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
        if (result == 0 || result == SKIPPED) result = code != 0 ? code : result; /* a failure is no skip */
    }
    return result;
}
