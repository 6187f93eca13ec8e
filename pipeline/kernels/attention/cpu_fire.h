// FIRE's bias (fire.py) of one sequence and head, base 2, and its gradient. Included once per instruction set, in its
// namespace.
//
//   f(x), x = sign(d) log(c |d| + 1) * norm[i], d = i - j, norm[i] = 1 / (log(c max(L, extent[i]) + 1) + epsilon)
//
// f is linear between breaks. In a block only the breaks between its least and greatest x matter, and those are few: x
// grows with the logarithm of the distance. Which piece an element lies on is decided by comparing it with the breaks,
// so its value does not depend on the block. A head's gradient is a row of sums: one for each intercept, one for each
// slope, c, L.

constexpr float FIRE_EPSILON = 1e-6f;

class Fire {
 public:
  Fire(const AttentionCall& call, int64_t longest_query, int64_t longest_key, Scratch& scratch)
      : call_(call), by_position_(call.q_positions != nullptr), num_pieces_(call.num_breaks + 1) {
    if (!is_given()) return;
    c_ = call.fire_shape[0];
    l_ = call.fire_shape[1];
    const int64_t far = by_position_ ? farthest() : round_up(std::max(longest_query, longest_key), QUERIES) + QUERIES;
    logs_ = scratch.take<float>(2 * far + 1) + far;
    tangents_ = scratch.take<float>(2 * far + 1) + far;
    for (int64_t d = 0; d <= far; d++) {
      logs_[d] = std::log1p(c_ * d);
      tangents_[d] = d / (c_ * d + 1);
      logs_[-d] = -logs_[d];
      tangents_[-d] = -tangents_[d];
    }
    for (float** norms : {&norms_, &norms_c_, &norms_l_})
      *norms = scratch.take<float>(round_up(longest_query, QUERIES));
    for (float** tile : {&values_, &tile_logs_, &tile_tangents_}) *tile = scratch.take<float>(BLOCK_ROWS * QUERIES);
    for (float** pieces : {&intercepts_, &slopes_}) *pieces = scratch.take<float>(num_pieces_);
    for (float** sums : {&beyond_, &beyond_x_}) *sums = scratch.take<float>(num_pieces_ * W);
  }

  bool is_given() const { return call_.fire_pieces != nullptr; }
  static int64_t num_sums(const AttentionCall& call) { return 2 * (call.num_breaks + 1) + 2; }

  void begin(const Sequence& sequence, int64_t head) {
    sequence_ = sequence;
    breaks_ = call_.fire_breaks;
    raw_slopes_ = call_.fire_pieces + (call_.num_heads + head) * num_pieces_;
    for (int64_t s = 0; s < num_pieces_; s++) {
      intercepts_[s] = LOG2E * call_.fire_pieces[head * num_pieces_ + s];
      slopes_[s] = LOG2E * raw_slopes_[s];
    }
    read_norms();
  }

  // Whether distances of the tile's queries are normalised as the sequence's first query's are, and positions are their
  // indices: then one vector over i - j serves all such tiles (`fill`, `add_sum`).
  bool is_shared(int64_t first, int64_t lanes) const {
    if (by_position_) return false;
    for (int64_t i = first; i < first + lanes; i++)
      if (norms_[i] != norms_[0]) return false;
    return true;
  }

  // to[d - from] for from <= d < stop, by the first query's norm; may write up to W - 1 more.
  void fill(int64_t from, int64_t stop, float* to) const {
    for (int64_t d = from; d < stop; d += W) {
      const Vec x = load(logs_ + d) * splat(norms_[0]);
      const auto [low, high] = pieces_between(d, d + W - 1, norms_[0], norms_[0]);
      store(to + d - from, value(x, low, high));
    }
  }

  // The gradient of that vector at d.
  void add_sum(int64_t d, float grad, float* sums) const {
    const float x = logs_[d] * norms_[0];
    const int64_t piece = piece_of(x);
    sums[piece] += grad;
    sums[num_pieces_ + piece] += grad * x;
    const float grad_x = grad * raw_slopes_[piece];
    sums[2 * num_pieces_] += grad_x * (tangents_[d] * norms_[0] + logs_[d] * norms_c_[0]);
    sums[2 * num_pieces_ + 1] += grad_x * logs_[d] * norms_l_[0];
  }

  // The block's rows, with row stride QUERIES, for the tile of queries from `first`.
  const float* rows(int64_t first, int64_t lanes, const Block& block) {
    const Distances at = distances(first, lanes, block);
    for (int64_t row = 0; row < block.count; row++)
      for (int64_t lane = 0; lane < lanes; lane += W) {
        const Vec x = load(at.logs + row * at.stride + lane) * load(norms_ + first + lane);
        store(values_ + row * QUERIES + lane, value(x, at.low, at.high));
      }
    return values_;
  }

  // Adds what `scores` (row stride lanes + 16) give the head's sums.
  void add_gradient(const float* scores, int64_t first, int64_t lanes, const Block& block, float* sums) {
    const Distances at = distances(first, lanes, block);
    for (int64_t lane = 0; lane < lanes; lane += W) {
      const Vec norm = load(norms_ + first + lane);
      Vec total{}, total_x{}, by_logs{}, by_tangents{};
      std::memset(beyond_, 0, num_pieces_ * W * sizeof(float));
      std::memset(beyond_x_, 0, num_pieces_ * W * sizeof(float));
      for (int64_t row = 0; row < block.count; row++) {
        const Vec grad = load(scores + row * (lanes + 16) + lane), log = load(at.logs + row * at.stride + lane);
        const Vec x = log * norm, grad_by_x = grad * x;
        Vec slope = splat(raw_slopes_[at.low]);
        for (int64_t k = at.low; k < at.high; k++) {
          const IVec beyond = x > splat(breaks_[k]);
          slope = beyond ? splat(raw_slopes_[k + 1]) : slope;
          store(beyond_ + k * W, load(beyond_ + k * W) + (beyond ? grad : Vec{}));
          store(beyond_x_ + k * W, load(beyond_x_ + k * W) + (beyond ? grad_by_x : Vec{}));
        }
        total += grad;
        total_x += grad_by_x;
        by_logs += grad * slope * log;
        by_tangents += grad * slope * load(at.tangents + row * at.stride + lane);
      }
      add_pieces(at, total, beyond_, sums);
      add_pieces(at, total_x, beyond_x_, sums + num_pieces_);
      sums[2 * num_pieces_] += sum(by_tangents * norm + by_logs * load(norms_c_ + first + lane));
      sums[2 * num_pieces_ + 1] += sum(by_logs * load(norms_l_ + first + lane));
    }
  }

 private:
  struct Distances {
    const float *logs, *tangents;  // row 0; signed
    int64_t stride, low, high;     // the pieces that x may lie on
  };

  int64_t farthest() const {
    const auto far = [](const int32_t* positions, int64_t count, int32_t sign) {
      int64_t most = 0;
      for (int64_t i = 0; i < count; i++) most = std::max<int64_t>(most, static_cast<int64_t>(sign) * positions[i]);
      return most;
    };
    return far(call_.q_positions, call_.num_queries, 1) + far(call_.k_positions, call_.num_keys, 1) +
           far(call_.q_positions, call_.num_queries, -1) + far(call_.k_positions, call_.num_keys, -1);
  }

  void read_norms() {
    const int64_t padded = round_up(sequence_.num_queries, QUERIES);
    for (int64_t i = 0; i < padded; i++) {
      const int64_t last = i < sequence_.num_queries ? i : sequence_.num_queries - 1;
      const auto extent = static_cast<float>(call_.fire_extents[sequence_.first_query + last]);
      if (i > 0 && extent == last_extent_) {
        norms_[i] = norms_[i - 1];
        norms_c_[i] = norms_c_[i - 1];
        norms_l_[i] = norms_l_[i - 1];
        continue;
      }
      last_extent_ = extent;
      const float longest = extent <= l_ ? l_ : extent, norm = 1.0f / (std::log1p(c_ * longest) + FIRE_EPSILON);
      norms_[i] = norm;
      norms_c_[i] = -norm * norm * longest / (c_ * longest + 1);
      norms_l_[i] = extent <= l_ ? -norm * norm * c_ / (c_ * longest + 1) : 0.0f;
    }
  }

  int64_t piece_of(float x) const { return std::lower_bound(breaks_, breaks_ + num_pieces_ - 1, x) - breaks_; }

  // The pieces of all x between distances `least` and `most` and norms: rounding keeps the order of products.
  struct Between {
    int64_t low, high;
  };
  Between pieces_between(int64_t least, int64_t most, float least_norm, float most_norm) const {
    return {piece_of(logs_[least] * (least < 0 ? most_norm : least_norm)),
            piece_of(logs_[most] * (most < 0 ? least_norm : most_norm))};
  }

  INLINE Vec value(Vec x, int64_t low, int64_t high) const {
    Vec intercept = splat(intercepts_[low]), slope = splat(slopes_[low]);
    for (int64_t k = low; k < high; k++) {
      const IVec beyond = x > splat(breaks_[k]);
      intercept = beyond ? splat(intercepts_[k + 1]) : intercept;
      slope = beyond ? splat(slopes_[k + 1]) : slope;
    }
    return fma(slope, x, intercept);
  }

  Distances distances(int64_t first, int64_t lanes, const Block& block) {
    float least_norm = norms_[first], most_norm = norms_[first];
    for (int64_t i = first; i < first + lanes; i++) {
      least_norm = std::min(least_norm, norms_[i]);
      most_norm = std::max(most_norm, norms_[i]);
    }
    if (!by_position_) {
      const int64_t least = first - block.start - (block.count - 1), most = first + lanes - 1 - block.start;
      const auto [low, high] = pieces_between(least, most, least_norm, most_norm);
      return {logs_ + first - block.start, tangents_ + first - block.start, -1, low, high};
    }
    const auto [least, most] = look_up(first, lanes, block);
    const auto [low, high] = pieces_between(least, most, least_norm, most_norm);
    return {tile_logs_, tile_tangents_, QUERIES, low, high};
  }

  // Logarithms and tangents of given positions; their least and greatest difference.
  Between look_up(int64_t first, int64_t lanes, const Block& block) {
    const int64_t count = sequence_.num_queries - first < lanes ? sequence_.num_queries - first : lanes;
    Between found{INT64_MAX, INT64_MIN};
    for (int64_t row = 0; row < block.count; row++) {
      const int64_t key = call_.k_positions[sequence_.first_key + block.start + row];
      for (int64_t i = 0; i < lanes; i++) {
        const int64_t d = call_.q_positions[sequence_.first_query + first + (i < count ? i : 0)] - key;
        tile_logs_[row * QUERIES + i] = logs_[d];
        tile_tangents_[row * QUERIES + i] = tangents_[d];
        found = {std::min(found.low, d), std::max(found.high, d)};
      }
    }
    return found;
  }

  // From sums beyond each break to sums of each piece.
  void add_pieces(const Distances& at, Vec total, const float* beyond, float* sums) const {
    float left = sum(total);
    for (int64_t k = at.low; k < at.high; k++) {
      const float more = sum(load(beyond + k * W));
      sums[k] += left - more;
      left = more;
    }
    sums[at.high] += left;
  }

  const AttentionCall& call_;
  const bool by_position_;
  const int64_t num_pieces_;
  Sequence sequence_{};
  float c_ = 0, l_ = 0, last_extent_ = 0;
  const float *breaks_ = nullptr, *raw_slopes_ = nullptr;
  float *logs_, *tangents_, *norms_, *norms_c_, *norms_l_, *values_, *tile_logs_, *tile_tangents_;
  float *intercepts_, *slopes_, *beyond_, *beyond_x_;
};
