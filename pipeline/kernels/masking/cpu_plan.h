// What the kernel is given: the structures of cpu.py, field by field.

#pragma once

#include <cstdint>

enum Select : int64_t { kT5Spans, kEachToken, kExactlyK, kDrawnSpans, kSuffix, kWeighted, kPermutationTail, kUnits };
enum UnitDraw : int64_t { kFitting, kFixedShare, kEachUnit };
enum Replace : int64_t { kSentinel, kMaskPerSpan, kTokenByToken, kDropped };
enum Layout : int64_t { kSentinelTargets, kFullReconstruction, kInPlace, kVisibleOnly, kPermuted };
enum Purpose : uint32_t { kSelect, kLength, kReplace, kRandomToken, kOrder, kPurposes };
enum Mark : uint8_t { kContinues, kBegins, kOutside };

constexpr int32_t kIgnored = -100;
constexpr int64_t kSlack = 32;  // tokens after the end of every array, which copies may read and write
constexpr uint64_t kCertain = uint64_t{1} << 32;  // the threshold of an event that always happens

struct Plan {
  int64_t select, replace, layout, free_edges, ends, unit_draw, joins_units, max_units, reorders;
  uint64_t select_threshold, mask_threshold, random_threshold, similar_threshold;
  const int64_t* num_selected;  // by the piece's length
  const int64_t* num_spans;
  const int64_t* share_of_units;  // by the number of units
  const int64_t* length_table;
  const int64_t* log2_table;
  const int64_t* ordinary;
  const int32_t* similar;
  int64_t length_table_size, num_ordinary, similar_width;
  int32_t first_sentinel, mask, pad, eos, cls, sep;
  uint32_t key_low, key_high;
};

struct Text {
  const void* tokens;
  int64_t token_bytes;            // 2 and 4: unsigned, 8: int64
  const uint8_t* column;          // of the selection; null where it needs none
  const uint8_t* sentences;       // null unless they are reordered
  const int64_t* offsets;         // [P + 1]
  const int64_t* samples;         // [P]
  const int64_t* sample_offsets;  // [B + 1]
  const int64_t* positions;       // [B]
  int64_t num_pieces, num_samples;
};

struct View {
  int32_t *tokens, *positions, *sample_rows, *labels;  // [size], and slack; labels may be null
  int64_t* sample_positions;                           // [size]
  int32_t* cu_seqlens;                                 // [num_boundaries]
  int64_t size, num_boundaries;
};

// One piece: its place in the sample, its raw tokens (reordered if asked for) and what the selection reads beside them.
struct Piece {
  const int32_t *tokens, *original;  // with slack
  const uint8_t* column;
  int64_t place, length;
};
