/* A library of candidates without a GPU, for the tests of how they are loaded. What is wrong with it is chosen when it
 * is compiled: see CMakeLists.txt. */
#include "kernels/crossover_candidate.h"

#include <stdlib.h>
#include <unistd.h>

#ifndef NAME
#define NAME "acme_oneshot"
#endif
#ifndef VERSION
#define VERSION "1.4.2 (test)"
#endif
#ifndef ROLE
#define ROLE CROSSOVER_CANDIDATE_ONESHOT
#endif
#ifndef MAJOR
#define MAJOR CROSSOVER_CANDIDATE_MAJOR
#endif
#ifndef MINOR
#define MINOR CROSSOVER_CANDIDATE_MINOR
#endif
#ifndef ENTRY
#define ENTRY crossover_candidate_get
#endif
#ifndef ENQUEUE
#define ENQUEUE enqueue
#endif

static uint64_t workspace_bytes(int32_t world_size, uint64_t max_message_bytes) {
    return (uint64_t)world_size * max_message_bytes;
}
static const char* unsupported(const crossover_candidate_group* group, const crossover_candidate_call* call) {
    (void)group;
    return call->quant == CROSSOVER_CANDIDATE_QUANT_NONE ? NULL : "cannot quantize";
}
static int32_t create(const crossover_candidate_group* group, void** state) {
    *state = (void*)group;
    return 0;
}
static int32_t enqueue(void* state, const crossover_candidate_call* call, crossover_candidate_stream stream) {
    (void)state, (void)call, (void)stream;
    return 0;
}
static void destroy(void* state) { (void)state; }
static const char* last_error(void) { return "nothing happened"; }

/* What a library of a later minor version exports: more at the end. */
typedef struct {
    crossover_candidate known;
    void* added_later[4];
} exported;

static exported first = {.known = {.struct_size = sizeof(
#ifdef LARGER_STRUCT
                                       exported
#elif defined(SMALLER_STRUCT)
                                       void*
#else
                                       crossover_candidate
#endif
                                       ),
                                   .major = MAJOR,
                                   .minor = MINOR,
                                   .name = NAME,
                                   .version = VERSION,
                                   .role = ROLE,
                                   .workspace_bytes = workspace_bytes,
                                   .unsupported = unsupported,
                                   .create = create,
                                   .enqueue = ENQUEUE,
                                   .destroy = destroy,
                                   .last_error = last_error}};

#ifdef SECOND_NAME
static exported second;
#endif

const crossover_candidate* ENTRY(uint32_t index) {
    (void)enqueue; /* where another was chosen */
#ifdef NO_CANDIDATES
    return NULL;
#endif
#ifdef ENDLESS
    return &first.known;
#endif
#ifdef SECOND_NAME
    if (index == 1) {
        second = first;
        second.known.name = SECOND_NAME;
        second.known.role = CROSSOVER_CANDIDATE_TWOSHOT;
        return &second.known;
    }
#endif
    return index == 0 ? &first.known : NULL;
}

#ifdef ON_LOAD
__attribute__((constructor)) static void on_load(void) { ON_LOAD; }
#endif
