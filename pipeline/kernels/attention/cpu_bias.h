// The bias of one sequence and head, base 2, and its gradient. Included once per instruction set, in its namespace.
//
// Positions contiguous: one vector over i - j; row j of a block is a slice of it, one step further left than row j -
// 1's. Otherwise a lookup by position difference, block by block. FIRE's is such a vector too where all queries of a
// tile are normalised alike; elsewhere it is computed, block by block.
class Bias {
 public:
  Bias(const AttentionCall& call, int64_t longest_query, int64_t longest_key, Scratch& scratch)
      : call_(call),
        fire_(call, longest_query, longest_key, scratch),
        by_position_(call.q_positions != nullptr),
        zero_(round_up(longest_key, QUERIES) + 16) {
    const int64_t diagonals = zero_ + round_up(longest_query, QUERIES) + 16;
    values_ = scratch.take<float>(is_vector() ? diagonals : BLOCK_ROWS * QUERIES);
    sums_ = scratch.take<float>(diagonals);
    std::memset(values_, 0, QUERIES * sizeof(float));
    num_diagonals_ = diagonals;
  }

  void begin(const Sequence& sequence, int64_t head) {
    sequence_ = sequence;
    table_ = call_.bias ? call_.bias + head * width() : nullptr;
    const int64_t from = -sequence.num_keys, stop = round_up(sequence.num_queries, QUERIES);
    if (fire_.is_given()) fire_.begin(sequence, head);
    if (!is_vector()) return;
    if (fire_.is_given()) return fire_.fill(from, stop, values_ + zero_ + from);
    for (int64_t x = from; x < stop; x++) values_[zero_ + x] = LOG2E * table_[index(-x)];
  }

  // Row 0 of a block of keys for the tile of queries from `first`; the row stride goes to `stride`.
  const float* rows(int64_t first, int64_t lanes, const Block& block, int64_t& stride) {
    stride = 0;
    if (!table_ && !fire_.is_given()) return values_;
    stride = -1;
    if (is_slice(first, lanes)) return values_ + zero_ + first - block.start;
    stride = QUERIES;
    if (fire_.is_given()) return fire_.rows(first, lanes, block);
    const int64_t count = sequence_.num_queries - first < lanes ? sequence_.num_queries - first : lanes;
    for (int64_t row = 0; row < block.count; row++) {
      const int64_t key = call_.k_positions[sequence_.first_key + block.start + row];
      for (int64_t i = 0; i < lanes; i++) {
        const int64_t query = call_.q_positions[sequence_.first_query + first + (i < count ? i : 0)];
        values_[row * QUERIES + i] = LOG2E * table_[index(key - query)];
      }
    }
    return values_;
  }

  // A head's part of the gradient: the table's values, or FIRE's sums.
  int64_t num_sums() const { return fire_.is_given() ? Fire::num_sums(call_) : 2 * call_.reach + 1; }

  void clear_gradient() { std::memset(sums_, 0, num_diagonals_ * sizeof(float)); }

  // `scores` as `add_diagonals` reads it. What is no slice of the vector goes to the head's sums at once.
  void add_gradient(const float* scores, int64_t first, int64_t lanes, const Block& block, float* to_table) {
    if (is_slice(first, lanes))
      return add_diagonals(scores, block.count, lanes, sums_ + zero_ + first - block.start);
    if (fire_.is_given()) return fire_.add_gradient(scores, first, lanes, block, to_table);
    const int64_t count = sequence_.num_queries - first < lanes ? sequence_.num_queries - first : lanes;
    for (int64_t row = 0; row < block.count; row++) {
      const int64_t key = call_.k_positions[sequence_.first_key + block.start + row];
      for (int64_t i = 0; i < count; i++)
        to_table[index(key - call_.q_positions[sequence_.first_query + first + i])] += scores[row * (lanes + 16) + i];
    }
  }

  void fold_gradient(float* to_table) const {
    if (!is_vector()) return;
    for (int64_t x = 1 - sequence_.num_keys; x < sequence_.num_queries; x++) {
      if (fire_.is_given())
        fire_.add_sum(x, sums_[zero_ + x], to_table);
      else
        to_table[index(-x)] += sums_[zero_ + x];
    }
  }

 private:
  bool is_vector() const { return (call_.bias || fire_.is_given()) && !by_position_; }
  bool is_slice(int64_t first, int64_t lanes) const {
    return is_vector() && (!fire_.is_given() || fire_.is_shared(first, lanes));
  }
  int64_t width() const { return 2 * call_.reach + 1; }
  int64_t index(int64_t difference) const {
    const int64_t reach = call_.reach;
    return (difference < -reach ? -reach : difference > reach ? reach : difference) + reach;
  }

  const AttentionCall& call_;
  Fire fire_;
  const bool by_position_;
  const int64_t zero_;
  const float* table_ = nullptr;
  Sequence sequence_{};
  float *values_, *sums_;
  int64_t num_diagonals_;
};

// How many numbers a head adds up for the gradient of its bias; 0 where nobody wants it.
int64_t bias_sums(const AttentionCall& call) {
  if (call.grad_bias) return 2 * call.reach + 1;
  return call.grad_fire_pieces || call.grad_fire_shape ? Fire::num_sums(call) : 0;
}

// The heads' sums to where their gradients are wanted.
void write_bias_gradient(const AttentionCall& call, const float* sums) {
  if (call.grad_bias) std::memcpy(call.grad_bias, sums, call.num_heads * (2 * call.reach + 1) * sizeof(float));
  const int64_t pieces = call.num_breaks + 1, size = Fire::num_sums(call);
  if (call.grad_fire_pieces)
    for (int64_t head = 0; head < call.num_heads; head++)
      for (int64_t side = 0; side < 2; side++)
        std::copy_n(sums + head * size + side * pieces, pieces,
                    call.grad_fire_pieces + (side * call.num_heads + head) * pieces);
  if (!call.grad_fire_shape) return;
  std::fill_n(call.grad_fire_shape, 2, 0.0f);
  for (int64_t head = 0; head < call.num_heads; head++)
    for (int64_t side = 0; side < 2; side++) call.grad_fire_shape[side] += sums[head * size + 2 * pieces + side];
}
