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

#ifdef __AVX512F__

// Both halves of the products of 16 numbers with `factor`.
static inline void multiply(__m512i numbers, __m512i factor, __m512i* high, __m512i* low) {
  const __m512i even = _mm512_mul_epu32(numbers, factor);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(numbers, 32), factor);
  *high = _mm512_mask_mov_epi32(_mm512_srli_epi64(even, 32), 0xAAAA, odd);
  *low = _mm512_mask_mov_epi32(even, 0xAAAA, _mm512_slli_epi64(odd, 32));
}

// The words of 16 blocks, block after block.
static inline void store_blocks(__m512i c0, __m512i c1, __m512i c2, __m512i c3, uint32_t* out) {
  const __m512i low01 = _mm512_unpacklo_epi32(c0, c1), high01 = _mm512_unpackhi_epi32(c0, c1);
  const __m512i low23 = _mm512_unpacklo_epi32(c2, c3), high23 = _mm512_unpackhi_epi32(c2, c3);
  // Quarter q of `every[i]` is block 4 * q + i.
  const __m512i every[4] = {_mm512_unpacklo_epi64(low01, low23), _mm512_unpackhi_epi64(low01, low23),
                            _mm512_unpacklo_epi64(high01, high23), _mm512_unpackhi_epi64(high01, high23)};
  const __m512i a = _mm512_shuffle_i32x4(every[0], every[1], 0x44), b = _mm512_shuffle_i32x4(every[2], every[3], 0x44);
  const __m512i c = _mm512_shuffle_i32x4(every[0], every[1], 0xEE), d = _mm512_shuffle_i32x4(every[2], every[3], 0xEE);
  _mm512_storeu_si512(out, _mm512_shuffle_i32x4(a, b, 0x88));
  _mm512_storeu_si512(out + 16, _mm512_shuffle_i32x4(a, b, 0xDD));
  _mm512_storeu_si512(out + 32, _mm512_shuffle_i32x4(c, d, 0x88));
  _mm512_storeu_si512(out + 48, _mm512_shuffle_i32x4(c, d, 0xDD));
}

// The blocks at counters (first + i, second, position low, position high): 4 * kLanes words.
static inline void philox_lanes(uint32_t first, uint32_t second, uint64_t position, uint32_t k0, uint32_t k1, uint32_t* out) {
  const __m512i factor0 = _mm512_set1_epi64(0xD2511F53), factor1 = _mm512_set1_epi64(0xCD9E8D57);
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  __m512i c0 = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(first)), lanes);
  __m512i c1 = _mm512_set1_epi32(static_cast<int>(second));
  __m512i c2 = _mm512_set1_epi32(static_cast<int>(position));
  __m512i c3 = _mm512_set1_epi32(static_cast<int>(position >> 32));
  for (int round = 0; round < 10; ++round) {
    __m512i high0, low0, high1, low1;
    multiply(c0, factor0, &high0, &low0);
    multiply(c2, factor1, &high1, &low1);
    c0 = _mm512_ternarylogic_epi32(high1, c1, _mm512_set1_epi32(static_cast<int>(k0)), 0x96);  // xor of three
    c2 = _mm512_ternarylogic_epi32(high0, c3, _mm512_set1_epi32(static_cast<int>(k1)), 0x96);
    c1 = low1, c3 = low0;
    k0 += 0x9E3779B9, k1 += 0xBB67AE85;
  }
  store_blocks(c0, c1, c2, c3, out);
}

#else

// The blocks at counters (first + i, second, position low, position high): 4 * kLanes words.
static inline void philox_lanes(uint32_t first, uint32_t second, uint64_t position, uint32_t k0, uint32_t k1, uint32_t* out) {
  uint32_t c0[kLanes], c1[kLanes], c2[kLanes], c3[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    c0[i] = first + static_cast<uint32_t>(i);
    c1[i] = second;
    c2[i] = static_cast<uint32_t>(position);
    c3[i] = static_cast<uint32_t>(position >> 32);
  }
  for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 1
    for (int i = 0; i < kLanes; ++i) {
      const uint64_t p0 = uint64_t{0xD2511F53} * c0[i], p1 = uint64_t{0xCD9E8D57} * c2[i];
      c0[i] = static_cast<uint32_t>(p1 >> 32) ^ c1[i] ^ k0;
      c2[i] = static_cast<uint32_t>(p0 >> 32) ^ c3[i] ^ k1;
      c1[i] = static_cast<uint32_t>(p1);
      c3[i] = static_cast<uint32_t>(p0);
    }
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  for (int i = 0; i < kLanes; ++i) {
    out[4 * i] = c0[i], out[4 * i + 1] = c1[i], out[4 * i + 2] = c2[i], out[4 * i + 3] = c3[i];
  }
}

#endif
