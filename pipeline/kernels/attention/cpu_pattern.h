// The interval rule on tiles of 64 queries (lanes) and blocks of keys (rows). Included once per instruction set.
//
// A block of keys is empty (skipped), full (no tests) or partial for a tile of queries: decided from the least and
// greatest rank of the block and the extremes of the tile's intervals, in O(rows), conservatively.

constexpr int64_t QUERIES = 64;  // of a tile

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

// Philox4x32-10 for 16 queries and one block of four draws: words[w][i] is draw 4 * block + w of query i.
INLINE void philox(const RandomStream& stream, int64_t first_row, int64_t count, uint32_t block,
                   uint32_t words[4][16]) {
  uint32_t c0[16], c1[16], c2[16], c3[16];
  for (int i = 0; i < 16; i++) {
    const int64_t row = first_row + (i < count ? i : 0);
    const auto position = static_cast<uint64_t>(stream.positions[row]);
    c0[i] = static_cast<uint32_t>(stream.rows[row]);
    c1[i] = block;
    c2[i] = static_cast<uint32_t>(position);
    c3[i] = static_cast<uint32_t>(position >> 32);
  }
  uint32_t k0 = stream.key_low, k1 = stream.key_high;
  for (int round = 0; round < 10; round++) {
    for (int i = 0; i < 16; i++) {
      const uint64_t p0 = static_cast<uint64_t>(c0[i]) * 0xD2511F53u, p1 = static_cast<uint64_t>(c2[i]) * 0xCD9E8D57u;
      c0[i] = static_cast<uint32_t>(p1 >> 32) ^ c1[i] ^ k0;
      c1[i] = static_cast<uint32_t>(p1);
      c2[i] = static_cast<uint32_t>(p0 >> 32) ^ c3[i] ^ k1;
      c3[i] = static_cast<uint32_t>(p0);
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int i = 0; i < 16; i++) {
    words[0][i] = c0[i];
    words[1][i] = c1[i];
    words[2][i] = c2[i];
    words[3][i] = c3[i];
  }
}

// below[j][i] = -1 where draw first_draw + j of query i has bits < threshold, else 0; first_draw is a multiple of 4.
void draw_below(const RandomStream& stream, int64_t first_query, int64_t num_queries, uint32_t first_draw,
                int64_t num_draws, int32_t* below) {
  uint32_t words[4][16];
  for (int64_t j = 0; j < num_draws; j += 4)
    for (int64_t i = 0; i < num_queries; i += 16) {
      philox(stream, first_query + i, num_queries - i, static_cast<uint32_t>(first_draw + j) / 4, words);
      for (int64_t w = 0; w < 4; w++)
        for (int lane = 0; lane < 16; lane++)
          below[(j + w) * QUERIES + i + lane] = words[w][lane] < stream.threshold ? -1 : 0;
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
  INLINE IVec sees(int32_t rank, int64_t lane, const int32_t* kept) const {
    const IVec ranks = splat(rank);
    IVec seen = a.holds(ranks, lane);
    if (!has_b) return seen;
    IVec seen_b = b.holds(ranks, lane);
    if (not_self) seen_b &= ranks != load(query_ranks + lane);
    if (has_keep) seen_b &= load(kept + lane);
    return seen | seen_b;
  }
};
