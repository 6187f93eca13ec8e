// The keep test of RetroMAE's enhanced decoding: for each pair of rows of a sequence, 32 bits against a threshold.

#include "../pipeline/kernels/masking/philox.h"

extern "C" int64_t keep_test(int64_t length, uint64_t position, uint32_t key_low, uint32_t key_high, uint32_t threshold) {
  uint32_t bits[4 * kLanes];
  int64_t kept = 0;
  for (int64_t row = 0; row < length; ++row) {
    for (int64_t block = 0; block < (length + 3) / 4; block += kLanes) {
      philox_lanes(static_cast<uint32_t>(block), static_cast<uint32_t>(row), position, key_low, key_high, bits);
      int32_t count = 0;
      for (int i = 0; i < 4 * kLanes; ++i) count += bits[i] < threshold;
      kept += count;
    }
  }
  return kept;
}
