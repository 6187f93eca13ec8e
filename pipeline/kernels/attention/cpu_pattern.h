// The interval rule on tiles of 64 queries (lanes) and blocks of keys (rows). Included once per instruction set.
//
// A block of keys is empty (skipped), full (no tests) or partial for a tile of queries: decided from the least and
// greatest rank of the block and the extremes of the tile's intervals, in O(rows), conservatively.

constexpr int64_t QUERIES = 64;  // of a tile
constexpr int64_t QUERY_VECTORS = QUERIES / W;

struct Range {
  int32_t least = INT32_MAX, greatest = INT32_MIN;
  void add(int32_t x) {
    least = x < least ? x : least;
    greatest = x > greatest ? x : greatest;
  }
};

// One interval of each query of a tile, and what the tile as a whole sees.
struct Intervals {
  alignas(64) int32_t start[QUERIES], length[QUERIES];
  Range starts, stops;          // over all queries of the tile
  Range some_start, some_stop;  // over those whose interval is not empty

  void read(const int32_t* starts_from, const int32_t* stops_from, int64_t count) {
    *this = Intervals();
    for (int64_t i = 0; i < QUERIES; i++) {
      start[i] = i < count ? starts_from[i] : 0;
      const int32_t stop = i < count ? stops_from[i] : 0;
      length[i] = stop > start[i] ? stop - start[i] : 0;
      if (i >= count) continue;
      starts.add(start[i]);
      stops.add(stop);
      if (length[i] == 0) continue;
      some_start.add(start[i]);
      some_stop.add(stop);
    }
  }
  bool misses(Range ranks) const { return some_start.least > ranks.greatest || some_stop.greatest <= ranks.least; }
  bool covers(Range ranks) const { return starts.greatest <= ranks.least && stops.least > ranks.greatest; }
  INLINE IVec holds(IVec rank, int64_t lane) const {
    return (IVec)((UVec)rank - (UVec)load(start + lane) < (UVec)load(length + lane));
  }
};

enum class Sight { NOTHING, PART, ALL };

// Philox4x32-10 for W queries, whose counters differ in the block alone: what does not depend on it is computed once.
// Words are the low halves of 64-bit lanes, of even and of odd queries; high halves are not cleared until the end.
class RowBlocks {
 public:
  RowBlocks(const RandomStream& stream, int64_t first_query, int64_t count) {
    alignas(64) uint32_t row[W] = {}, low[W] = {}, high[W] = {};
    const int64_t *rows = stream.rows + first_query, *positions = stream.positions + first_query;
    for (int64_t i = 0; i < (count < W ? count : W); i++) {
      row[i] = static_cast<uint32_t>(rows[i]);
      low[i] = static_cast<uint32_t>(positions[i]);
      high[i] = static_cast<uint32_t>(static_cast<uint64_t>(positions[i]) >> 32);
    }
    uint32_t k0 = stream.key_low, k1 = stream.key_high;
    for (int r = 0; r < 10; r++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) key0_[r] = wide(k0), key1_[r] = wide(k1);
    for (int odd = 0; odd < 2; odd++) {
      const LongVec c0 = half(load(row), odd), c2 = half(load(low), odd), c3 = half(load(high), odd);
      const LongVec p0 = multiply_low(c0, M0), p1 = multiply_low(c2, M1);
      const LongVec q1 = multiply_low((p0 >> 32) ^ c3 ^ key1_[0], M1);
      const LongVec r0 = multiply_low((q1 >> 32) ^ p1 ^ key0_[1], M0);
      fixed_[odd] = {(p1 >> 32) ^ key0_[0], p0 ^ key1_[1], q1 ^ key0_[2], (r0 >> 32) ^ key1_[2], r0};
    }
  }

  // The four words of block number `block` of each query.
  INLINE void draw(uint32_t block, UVec words[4]) const {
    LongVec halves[2][4];
    for (int odd = 0; odd < 2; odd++) {
      const Fixed& fixed = fixed_[odd];
      const LongVec p0 = multiply_low(fixed.c0 ^ wide(block), M0);  // round 2
      const LongVec p1 = multiply_low((p0 >> 32) ^ fixed.c3, M1);   // round 3
      LongVec c0 = (p1 >> 32) ^ fixed.c1, c1 = p1, c2 = p0 ^ fixed.high, c3 = fixed.low;
      for (int r = 3; r < 10; r++) {
        const LongVec q0 = multiply_low(c0, M0), q1 = multiply_low(c2, M1);
        c0 = (q1 >> 32) ^ c1 ^ key0_[r], c2 = (q0 >> 32) ^ c3 ^ key1_[r], c1 = q1, c3 = q0;
      }
      halves[odd][0] = c0, halves[odd][1] = c1, halves[odd][2] = c2, halves[odd][3] = c3;
    }
    for (int w = 0; w < 4; w++) words[w] = merge(halves[0][w], halves[1][w]);
  }

 private:
  static constexpr uint64_t M0 = 0xD2511F53u, M1 = 0xCD9E8D57u, LOW_HALVES = 0xFFFFFFFFu;
  struct Fixed {
    LongVec c0, c3, c1, high, low;
  };
  INLINE static LongVec wide(uint32_t x) { return LongVec{} + x; }
  INLINE static LongVec half(UVec x, int odd) { return odd ? (LongVec)x >> 32 : (LongVec)x; }
  // The low halves of `even` and of `odd`, in turn.
  INLINE static UVec merge(LongVec even, LongVec odd) {
#if defined(SPANWRIGHT_AVX512)
    return (UVec)_mm512_mask_shuffle_epi32((__m512i)even, 0xAAAA, (__m512i)odd, _MM_PERM_CCAA);
#else
    return (UVec)((even & LOW_HALVES) | (odd << 32));
#endif
  }
  INLINE static LongVec multiply_low(LongVec x, uint64_t factor) {
#if defined(SPANWRIGHT_AVX512)
    return (LongVec)_mm512_mul_epu32((__m512i)x, _mm512_set1_epi64(static_cast<int64_t>(factor)));
#elif defined(SPANWRIGHT_AVX2)
    return (LongVec)_mm256_mul_epu32((__m256i)x, _mm256_set1_epi64x(static_cast<int64_t>(factor)));
#else
    return (x & LOW_HALVES) * factor;
#endif
  }

  LongVec key0_[10], key1_[10];
  Fixed fixed_[2];
};

// The lane of query i in below[j * QUERY_VECTORS + i / W] is set where draw first_draw + j of the query has bits <
// threshold; first_draw is a multiple of the draws in a block: 4 of 32 bits, or 8 of 16.
template <int BITS>
void draw_below(const RandomStream& stream, int64_t first_query, int64_t num_queries, uint32_t first_draw,
                int64_t num_draws, Bits* below) {
  constexpr int64_t DRAWS = 128 / BITS;
  const UVec limit = UVec{} + stream.threshold;
  for (int64_t i = 0; i < num_queries; i += W) {
    const RowBlocks blocks(stream, first_query + i, num_queries - i);
    for (int64_t j = 0; j < num_draws; j += DRAWS) {
      UVec words[4];
      blocks.draw(static_cast<uint32_t>((first_draw + j) / DRAWS), words);
      Bits* out = below + j * QUERY_VECTORS + i / W;
      for (int w = 0; w < 4; w++) {
        if (BITS == 32) {
          out[w * QUERY_VECTORS] = bits_below(words[w], limit);
        } else {
          out[2 * w * QUERY_VECTORS] = bits_below(words[w] & 0xFFFFu, limit);
          out[(2 * w + 1) * QUERY_VECTORS] = bits_below(words[w] >> 16, limit);
        }
      }
    }
  }
}

// The pattern of one tile of queries.
struct TilePattern {
  Intervals a, b;
  alignas(64) int32_t query_ranks[QUERIES];
  bool shows_all, has_b, not_self, has_keep;

  void read(const AttentionCall& call, int64_t first, int64_t count) {
    shows_all = call.shows_all;
    has_b = call.b_start != nullptr;
    not_self = has_b && call.query_ranks != nullptr;
    has_keep = has_b && call.keep.rows != nullptr;
    a.read(call.a_start + first, call.a_stop + first, count);
    if (has_b) b.read(call.b_start + first, call.b_stop + first, count);
    for (int64_t i = 0; i < QUERIES; i++) query_ranks[i] = not_self && i < count ? call.query_ranks[first + i] : 0;
  }

  Sight of(Range ranks) const {
    if (shows_all || a.covers(ranks)) return Sight::ALL;
    if (has_b && !not_self && !has_keep && b.covers(ranks)) return Sight::ALL;
    return a.misses(ranks) && (!has_b || b.misses(ranks)) ? Sight::NOTHING : Sight::PART;
  }

  // -1 in the lanes (queries) that see the key of `rank`; `kept` is the key's row of the keep test.
  INLINE IVec sees(int32_t rank, int64_t lane, const Bits* kept) const {
    const IVec ranks = splat(rank);
    IVec seen = a.holds(ranks, lane);
    if (!has_b) return seen;
    IVec seen_b = b.holds(ranks, lane);
    if (not_self) seen_b &= ranks != load(query_ranks + lane);
    if (has_keep) seen_b &= lanes_of(kept[lane / W]);
    return seen | seen_b;
  }
};
