// What Python hands over, the numbers of one call; mirrored field by field in cpu.py. Pointers that may be null say so.
#pragma once
#include <cstdint>

// Random bits of a row: Philox4x32-10 with `key`, counter (row, block, position low, position high). A block holds 4 draws
// of 32 bits, or 8 of 16: word w then has draws 2 * w, its low half, and 2 * w + 1.
struct RandomStream {
  const int64_t* rows;       // [Tq]; null: no test
  const int64_t* positions;  // [Tq]
  uint32_t key_low, key_high;
  uint32_t threshold;  // P(bits < threshold) = threshold / 2^32, or / 2^16
};

struct AttentionCall {
  int64_t num_sequences, num_queries, num_keys, num_heads, num_kv_heads, head_dim;
  int64_t q_row, q_head, k_row, k_head, v_row, v_head;  // strides in elements
  const void *q, *k, *v;                                // [T, H, D], the last stride 1
  const int32_t *cu_q, *cu_k;                           // [N + 1]
  const int32_t *key_ranks, *a_start, *a_stop;          // [Tk], [Tq], [Tq]
  const int32_t *b_start, *b_stop, *query_ranks;        // [Tq], may be null
  RandomStream keep;                                    // of interval B: 16 bits < threshold shows
  const float* bias;                                    // [H, 2 * reach + 1], may be null
  const float *fire_pieces, *fire_breaks, *fire_shape;  // [2, H, num_breaks + 1], [num_breaks], [2]; may be null
  const int32_t* fire_extents;                          // [Tq]
  const int32_t *q_positions, *k_positions;             // may be null: a row's position is its index
  int64_t reach, num_breaks;
  const float* key_scores;  // [Tk], may be null
  RandomStream dropout;     // 32 bits < threshold drops; draw = head * 2^20 + key
  float dropout_scale, scale;
  int32_t shows_all, instructions, num_threads, is_bfloat16;

  void* out;                           // [Tq, H, D]; written forward, read backward
  float* logsumexp;                    // [H, Tq], base 2; +inf where a query sees nothing; likewise
  const void* grad_out;                // [Tq, H, D]
  void *grad_q, *grad_k, *grad_v;      // [T, H, D]
  float *grad_bias, *grad_fire_pieces, *grad_fire_shape, *grad_key_scores;  // as what they are of; may be null
};
