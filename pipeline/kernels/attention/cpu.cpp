// Attention on flat packed sequences, forward and backward, for CPUs. Who sees whom is IntervalPattern's rule
// (patterns.py), the specification is reference.py; cpu.py calls this through ctypes.
//
// The same headers are compiled for several instruction sets, each in a namespace, and one is chosen at run time:
// AMX and AVX-512 BF16 multiply bfloat16 as it is; the others compute in float32, whatever the inputs.
// Work is divided into tasks that follow from the inputs alone; each result is summed by one task in a fixed order, so
// bits repeat for any number of threads. Memory is linear in the rows: a tile is 64 queries, a block some keys.

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "cpu_call.h"

#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))

namespace c10 {
struct BFloat16;
}
namespace at::native::cpublas {  // exported by libtorch_cpu; weak: without it AMX is not used
__attribute__((weak)) void brgemm(int64_t m, int64_t n, int64_t k, int64_t lda, int64_t ldb, int64_t ldc, bool add,
                                  const c10::BFloat16* a, const c10::BFloat16* b, float* c, bool is_vnni);
__attribute__((weak)) void brgemm_release(bool is_vnni);
}  // namespace at::native::cpublas

constexpr int64_t FORWARD_KEYS = 256, BACKWARD_KEYS = 128;  // of a block
constexpr int64_t BLOCK_ROWS = std::max(FORWARD_KEYS, BACKWARD_KEYS);
constexpr int64_t QUERIES_OF_A_TASK = 512;
constexpr int64_t GROUPS = 64;  // of sequences, about: each has partial sums of the bias, added in order at the end
constexpr int64_t SMALL_CALL = 1 << 16;  // scores: fewer are not worth waking other threads

constexpr int32_t PORTABLE = 0, AVX2 = 1, AVX512 = 2, AVX512_BF16 = 3, AMX = 4;

namespace portable {
#include "cpu_run.h"
}

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define SPANWRIGHT_AVX2
namespace avx2 {
#include "cpu_run.h"
}
#undef SPANWRIGHT_AVX2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
#define SPANWRIGHT_AVX512
namespace avx512 {
#include "cpu_run.h"
}
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")
#define SPANWRIGHT_AVX512_BF16
namespace avx512_bf16 {
#include "cpu_run.h"
}
#pragma GCC pop_options
#endif

extern "C" int32_t attention_instructions() {  // the best this machine has
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
  if (bf16 && __builtin_cpu_supports("amx-bf16") && at::native::cpublas::brgemm != nullptr) return AMX;
  if (bf16) return AVX512_BF16;
  if (avx512) return AVX512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return AVX2;
#endif
  return PORTABLE;
}

extern "C" void attention_run(const AttentionCall* call, int32_t backward) {
#if defined(__x86_64__)
  if (call->is_bfloat16 && call->instructions == AMX)
    return avx512_bf16::run<avx512_bf16::TorchTiles, uint16_t>(*call, backward);
  if (call->is_bfloat16 && call->instructions == AVX512_BF16)
    return avx512_bf16::run<avx512_bf16::DotProducts, uint16_t>(*call, backward);
  if (call->instructions >= AVX512) return avx512::run_float32(*call, backward);
  if (call->instructions == AVX2) return avx2::run_float32(*call, backward);
#endif
  portable::run_float32(*call, backward);
}
