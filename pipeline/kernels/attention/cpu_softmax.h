// From scores to probabilities and back, on a block of keys (rows) times a tile of queries (lanes). Included once per
// instruction set, inside its namespace. All in base 2: score = log2(e) * (scale * q k + bias + key score).

constexpr float LOG2E = 1.44269504088896341f;
constexpr float LOWEST = -1e30f;  // the greatest score of a query before it has seen a key

struct Block {  // of keys, in one sequence
  int64_t start, count;
  Range ranks;
};

// What is added to a block's raw products, and who is hidden. Row j is the block's key j.
struct Terms {
  const float* bias;  // base 2; row j begins at bias + j * bias_stride
  int64_t bias_stride;
  const float* key_scores;   // [count], may be null
  const int32_t* key_ranks;  // [count]
  const Bits* kept;          // [count][QUERY_VECTORS], read only with a keep test
  const Bits* dropped;       // [count][QUERY_VECTORS], null without dropout
  float scale, dropout_scale;
  const TilePattern* pattern;

  template <bool MASKED>
  INLINE Vec score(Vec product, int64_t row, int64_t lane) const {
    Vec x = fma(product, splat(scale), load(bias + row * bias_stride + lane));
    if (key_scores) x += splat(LOG2E * key_scores[row]);
    if (MASKED) x = pattern->sees(key_ranks[row], lane, kept + row * QUERY_VECTORS) ? x : splat(-INFINITY);
    return x;
  }
  INLINE Vec keep_factor(int64_t row, int64_t lane) const {
    return lanes_of(dropped[row * QUERY_VECTORS + lane / W]) ? Vec{} : splat(dropout_scale);
  }
};

// The running softmax of one tile: greatest score and sum of exponentials of each query.
struct Running {
  alignas(64) float greatest[QUERIES], total[QUERIES], correction[QUERIES];
  bool changed;  // some correction is not one

  void reset() {
    for (int64_t i = 0; i < QUERIES; i++) {
      greatest[i] = LOWEST;
      total[i] = 0;
    }
  }
};

// products [count][QUERIES] to probabilities (not yet divided by their sum) in pair layout [padded][QUERIES].
template <class Ops, bool MASKED>
void softmax_block(const Terms& terms, float* products, int64_t count, int64_t padded, int64_t lanes, Running& running,
                   typename Ops::Elem* probabilities) {
  running.changed = false;
  for (int64_t lane = 0; lane < lanes; lane += W) {
    const Vec before = load(running.greatest + lane);
    Vec greatest = before, other = before;
    for (int64_t row = 0; row < count; row += 2) {
      const int64_t next = row + 1 < count ? row + 1 : row;
      const Vec x = terms.score<MASKED>(load(products + row * QUERIES + lane), row, lane);
      const Vec y = terms.score<MASKED>(load(products + next * QUERIES + lane), next, lane);
      store(products + row * QUERIES + lane, x);
      if (next != row) store(products + next * QUERIES + lane, y);
      greatest = max(greatest, x);
      other = max(other, y);
    }
    greatest = max(greatest, other);
    const Vec correction = exp2<true>(before - greatest);
    store(running.correction + lane, correction);
    store(running.greatest + lane, greatest);
    for (int i = 0; i < W; i++) running.changed |= correction[i] != 1.0f;
    Vec total = load(running.total + lane) * correction, total_next = Vec{};
    for (int64_t row = 0; row < count; row += 2) {
      Vec x = exp2<Ops::PRECISE>(load(products + row * QUERIES + lane) - greatest), y = Vec{};
      if (row + 1 < count) y = exp2<Ops::PRECISE>(load(products + (row + 1) * QUERIES + lane) - greatest);
      total += x;
      total_next += y;
      if (terms.dropped) {
        x *= terms.keep_factor(row, lane);
        if (row + 1 < count) y *= terms.keep_factor(row + 1, lane);
      }
      Ops::put_pair(x, y, probabilities + row * QUERIES + lane * Ops::PACK, QUERIES);
    }
    store(running.total + lane, total + total_next);
  }
  const int64_t written = (count + 1) / 2 * 2;
  std::memset(probabilities + written * QUERIES, 0, (padded - written) * QUERIES * sizeof(probabilities[0]));
}

template <class Elem>
struct Gradients {      // of one block and tile, [padded][QUERIES] each
  Elem* probabilities;  // after dropout; rows
  Elem* scores;         // rows
  Elem* score_pairs;    // pair layout; the same memory as `scores` where the layouts are one
  float* summed;        // float32 scores with row stride lanes + 16, 16 zeros around each row; null if nobody sums them
};

// products = K Q^T with row stride `stride`, grad_products = V dO^T with row stride QUERIES.
template <class Ops, bool MASKED>
void softmax_backward_block(const Terms& terms, const float* products, int64_t stride, const float* grad_products,
                            int64_t count, int64_t padded, int64_t lanes, const float* logsumexp, const float* delta,
                            Gradients<typename Ops::Elem> to) {
  for (int64_t lane = 0; lane < lanes; lane += W) {
    const Vec lse = load(logsumexp + lane), shift = load(delta + lane);
    const auto one_row = [&](int64_t row) INLINE_LAMBDA {
      const Vec x = terms.score<MASKED>(load(products + row * stride + lane), row, lane);
      const Vec p = exp2<Ops::PRECISE>(x - lse);
      Vec grad = load(grad_products + row * QUERIES + lane), dropped = p;
      if (terms.dropped) {
        const Vec factor = terms.keep_factor(row, lane);
        dropped = p * factor;
        grad *= factor;
      }
      const Vec grad_score = p * (grad - shift);
      Ops::put(dropped, to.probabilities + row * QUERIES + lane);
      if (Ops::PACK > 1) Ops::put(grad_score, to.scores + row * QUERIES + lane);
      if (to.summed) store(to.summed + row * stride + lane, grad_score);
      return grad_score;
    };
    for (int64_t row = 0; row < count; row += 2) {
      const Vec x = one_row(row), y = row + 1 < count ? one_row(row + 1) : Vec{};
      Ops::put_pair(x, y, to.score_pairs + row * QUERIES + lane * Ops::PACK, QUERIES);
    }
  }
  const auto clear = [&](auto* rows, int64_t from) {
    if (from < padded) std::memset(rows + from * QUERIES, 0, (padded - from) * QUERIES * sizeof(rows[0]));
  };
  clear(to.probabilities, count);
  if (Ops::PACK > 1) clear(to.scores, count);
  clear(to.score_pairs, (count + 1) / 2 * 2);
}

// Adds the sums of the block's diagonals: to[i - j] += scores[j][i]. Reading rows with a stride one larger than theirs
// makes a diagonal a column; the zeros around each row make the corners of 16 rows harmless.
INLINE void add_diagonals(const float* scores, int64_t count, int64_t lanes, float* to) {
  const int64_t stride = lanes + 16;
  for (int64_t first = 0; first < count; first += 16) {
    const float* block = scores + first * stride;
    for (int64_t at = -16; at < lanes; at += W) {
      Vec sums = load(block + at), others = load(block + at + stride + 1);
      for (int64_t row = 2; row < 16; row += 2) {
        sums += load(block + at + row * (stride + 1));
        others += load(block + at + (row + 1) * (stride + 1));
      }
      float* target = to - first + at;
      store(target, load(target) + (sums + others));
    }
  }
}
