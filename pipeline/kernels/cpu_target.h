// The instruction set that a source was compiled for, by the names that attention/cpu_simd.h asks for. Included outside
// of any namespace.

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define SPANWRIGHT_AVX512
#elif defined(__AVX2__) && defined(__FMA__)
#define SPANWRIGHT_AVX2
#endif

#define INLINE inline __attribute__((always_inline))
