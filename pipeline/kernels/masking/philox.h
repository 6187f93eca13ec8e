// Philox4x32-10, kLanes blocks at a time. See pipeline/corruption/philox.py.
//
// With AVX-512 the rounds are written out: compilers widen the 32-bit products one way or another, three times slower.
// Elsewhere the loops over lanes become vector code.

#pragma once

#include <cstdint>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

constexpr int kLanes = 16;

// The key of every round.
struct RoundKeys {
  uint64_t low[10], high[10];  // of 32 bits: a vector of 64-bit lanes takes them from memory at no cost

  RoundKeys(uint32_t k0, uint32_t k1) {
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9, k1 += 0xBB67AE85) low[round] = k0, high[round] = k1;
  }
};

#ifdef __AVX512F__

// Eight blocks, whose words are the low halves of 64-bit lanes; the high halves are not cleared, for products ignore them.
struct Blocks {
  __m512i c0, c1, c2, c3;

  inline void round(uint64_t key0, uint64_t key1) {
    const __m512i k0 = _mm512_set1_epi64(static_cast<int64_t>(key0)), k1 = _mm512_set1_epi64(static_cast<int64_t>(key1));
    const __m512i p0 = _mm512_mul_epu32(c0, _mm512_set1_epi64(0xD2511F53));
    const __m512i p1 = _mm512_mul_epu32(c2, _mm512_set1_epi64(0xCD9E8D57));
    c0 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), c1, k0, 0x96);  // xor of three
    c2 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), c3, k1, 0x96);
    c1 = p1, c3 = p0;
  }

  // Lane 2 * i holds block i, lane 2 * i + 1 block i + 4.
  inline void store(uint32_t* out) const {
    const __m512i c01 = _mm512_mask_blend_epi32(0xAAAA, c0, _mm512_slli_epi64(c1, 32));
    const __m512i c23 = _mm512_mask_blend_epi32(0xAAAA, c2, _mm512_slli_epi64(c3, 32));
    _mm512_storeu_si512(out, _mm512_unpacklo_epi64(c01, c23));
    _mm512_storeu_si512(out + 16, _mm512_unpackhi_epi64(c01, c23));
  }
};

// The blocks at counters (first, second, position low, position high), of which the word VARYING, 0 or 1, is counted up
// from one to the next: 4 * kLanes words.
template <int VARYING = 0>
static inline void philox_lanes(uint32_t first, uint32_t second, uint64_t position, const RoundKeys& keys, uint32_t* out) {
  const __m512i number = _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0), none = _mm512_setzero_si512();
  const __m512i c0 = _mm512_add_epi64(_mm512_set1_epi64(first), VARYING == 0 ? number : none);
  const __m512i c1 = _mm512_add_epi64(_mm512_set1_epi64(second), VARYING == 1 ? number : none);
  const __m512i c2 = _mm512_set1_epi64(static_cast<int64_t>(position));
  const __m512i c3 = _mm512_set1_epi64(static_cast<int64_t>(position >> 32)), eight = _mm512_set1_epi64(8);
  Blocks low = {c0, c1, c2, c3};
  Blocks high = {VARYING == 0 ? _mm512_add_epi64(c0, eight) : c0, VARYING == 1 ? _mm512_add_epi64(c1, eight) : c1, c2, c3};
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    low.round(keys.low[round], keys.high[round]);
    high.round(keys.low[round], keys.high[round]);
  }
  low.store(out);
  high.store(out + 32);
}

#else

// The blocks at counters (first, second, position low, position high), of which the word VARYING, 0 or 1, is counted up
// from one to the next: 4 * kLanes words.
template <int VARYING = 0>
static inline void philox_lanes(uint32_t first, uint32_t second, uint64_t position, const RoundKeys& keys, uint32_t* out) {
  uint32_t c0[kLanes], c1[kLanes], c2[kLanes], c3[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    c0[i] = first + (VARYING == 0 ? static_cast<uint32_t>(i) : 0);
    c1[i] = second + (VARYING == 1 ? static_cast<uint32_t>(i) : 0);
    c2[i] = static_cast<uint32_t>(position);
    c3[i] = static_cast<uint32_t>(position >> 32);
  }
  for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 1
    for (int i = 0; i < kLanes; ++i) {
      const uint64_t p0 = uint64_t{0xD2511F53} * c0[i], p1 = uint64_t{0xCD9E8D57} * c2[i];
      c0[i] = static_cast<uint32_t>(p1 >> 32) ^ c1[i] ^ static_cast<uint32_t>(keys.low[round]);
      c2[i] = static_cast<uint32_t>(p0 >> 32) ^ c3[i] ^ static_cast<uint32_t>(keys.high[round]);
      c1[i] = static_cast<uint32_t>(p1);
      c3[i] = static_cast<uint32_t>(p0);
    }
  }
  for (int i = 0; i < kLanes; ++i) {
    out[4 * i] = c0[i], out[4 * i + 1] = c1[i], out[4 * i + 2] = c2[i], out[4 * i + 3] = c3[i];
  }
}

#endif
