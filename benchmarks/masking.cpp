// The keep test of RetroMAE's enhanced decoding as our attention makes it (cpu_pattern.h), for all pairs of rows of each
// sequence: 64 queries and a block of keys at a time. The length is a multiple of 64.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define SPANWRIGHT_AVX512
#elif defined(__AVX2__) && defined(__FMA__)
#define SPANWRIGHT_AVX2
#endif

#include "../pipeline/kernels/attention/cpu_call.h"
#include "../pipeline/kernels/attention/cpu_simd.h"
#include "../pipeline/kernels/attention/cpu_pattern.h"

constexpr int64_t KEYS = 256;  // of a block, as in attention's forward pass

// How many pairs of rows pass in all sequences together; `threshold` is of 16 bits, `positions` the samples'.
extern "C" int64_t keep_test(int64_t num_sequences, int64_t length, const int64_t* positions, uint32_t key_low,
                             uint32_t key_high, uint32_t threshold) {
  std::vector<int64_t> rows(length), own(length);
  for (int64_t i = 0; i < length; ++i) rows[i] = i;
  const RandomStream stream{rows.data(), own.data(), key_low, key_high, threshold};
  Bits kept[KEYS * QUERY_VECTORS];
  int64_t passed = 0;
  for (int64_t n = 0; n < num_sequences; ++n) {
    std::fill(own.begin(), own.end(), positions[n]);
    for (int64_t first = 0; first < length; first += QUERIES) {
      for (int64_t start = 0; start < length; start += KEYS) {
        const int64_t keys = std::min(KEYS, length - start);
        draw_below<16>(stream, first, QUERIES, static_cast<uint32_t>(start), keys, kept);
        for (int64_t j = 0; j < keys * QUERY_VECTORS; ++j) passed += __builtin_popcount(kept[j]);
      }
    }
  }
  return passed;
}
