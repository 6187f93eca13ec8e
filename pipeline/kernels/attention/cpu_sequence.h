// One sequence and head: its rows, its bias, its blocks of keys. Included once per instruction set, in its namespace.

INLINE int64_t round_up(int64_t x, int64_t multiple) { return (x + multiple - 1) / multiple * multiple; }

// Aligned memory of one thread, for one call.
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    for (void* buffer : buffers_) std::free(buffer);
  }
  template <class T>
  T* take(int64_t count) {
    void* buffer = std::aligned_alloc(64, round_up(count * sizeof(T) + 64, 64));
    if (buffer == nullptr) std::abort();
    buffers_.push_back(buffer);
    return static_cast<T*>(buffer);
  }

 private:
  std::vector<void*> buffers_;
};

struct Sequence {
  int64_t number, first_query, num_queries, first_key, num_keys;
};

// The bias of one sequence and head, base 2, and its gradient.
//
// Positions contiguous: one vector over i - j; row j of a block is a slice of it, one step further left than row j -
// 1's. Otherwise a lookup by position difference, block by block.
class Bias {
 public:
  Bias(const AttentionCall& call, int64_t longest_query, int64_t longest_key, Scratch& scratch)
      : call_(call), by_position_(call.q_positions != nullptr), zero_(round_up(longest_key, QUERIES) + 16) {
    const int64_t diagonals = zero_ + round_up(longest_query, QUERIES) + 16;
    values_ = scratch.take<float>(by_position_ || !call.bias ? BLOCK_ROWS * QUERIES : diagonals);
    sums_ = scratch.take<float>(diagonals);
    std::memset(values_, 0, QUERIES * sizeof(float));
    num_sums_ = diagonals;
  }

  void begin(const Sequence& sequence, int64_t head) {
    sequence_ = sequence;
    table_ = call_.bias ? call_.bias + head * width() : nullptr;
    if (!table_ || by_position_) return;
    for (int64_t x = -sequence.num_keys; x < round_up(sequence.num_queries, QUERIES); x++)
      values_[zero_ + x] = LOG2E * table_[index(-x)];
  }

  // Row 0 of a block of keys for the tile of queries from `first`; the row stride goes to `stride`.
  const float* rows(int64_t first, int64_t lanes, const Block& block, int64_t& stride) {
    stride = 0;
    if (!table_) return values_;
    stride = -1;
    if (!by_position_) return values_ + zero_ + first - block.start;
    stride = QUERIES;
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

  void clear_gradient() { std::memset(sums_, 0, num_sums_ * sizeof(float)); }

  // `scores` as `add_diagonals` reads it. By position the sums go to the table at once.
  void add_gradient(const float* scores, int64_t first, int64_t lanes, const Block& block, float* to_table) {
    if (!by_position_) return add_diagonals(scores, block.count, lanes, sums_ + zero_ + first - block.start);
    const int64_t count = sequence_.num_queries - first < lanes ? sequence_.num_queries - first : lanes;
    for (int64_t row = 0; row < block.count; row++) {
      const int64_t key = call_.k_positions[sequence_.first_key + block.start + row];
      for (int64_t i = 0; i < count; i++)
        to_table[index(key - call_.q_positions[sequence_.first_query + first + i])] += scores[row * (lanes + 16) + i];
    }
  }

  void fold_gradient(float* to_table) const {
    if (by_position_) return;
    for (int64_t x = 1 - sequence_.num_keys; x < sequence_.num_queries; x++) to_table[index(-x)] += sums_[zero_ + x];
  }

 private:
  int64_t width() const { return 2 * call_.reach + 1; }
  int64_t index(int64_t difference) const {
    const int64_t reach = call_.reach;
    return (difference < -reach ? -reach : difference > reach ? reach : difference) + reach;
  }

  const AttentionCall& call_;
  const bool by_position_;
  const int64_t zero_;
  const float* table_ = nullptr;
  Sequence sequence_{};
  float *values_, *sums_;
  int64_t num_sums_;
};

// Where each block's part of the rule's random tests is kept, and everything else a block of scores needs.
class Rule {
 public:
  Rule(const AttentionCall& call, Scratch& scratch)
      : call_(call),
        kept_(scratch.take<int32_t>(BLOCK_ROWS * QUERIES)),
        dropped_(scratch.take<int32_t>(BLOCK_ROWS * QUERIES)) {}

  void begin_tile(const Sequence& sequence, int64_t first, int64_t lanes) {
    sequence_ = sequence;
    first_ = first;
    lanes_ = lanes;
    count_ = sequence.num_queries - first < lanes ? sequence.num_queries - first : lanes;
    pattern_.read(call_, sequence.first_query + first, count_);
  }
  int64_t count() const { return count_; }
  Sight of(const Block& block) const { return pattern_.of(block.ranks); }

  Terms terms(const Block& block, int64_t head, Bias& bias, bool masked) {
    Terms terms;
    terms.bias = bias.rows(first_, lanes_, block, terms.bias_stride);
    const int64_t key = sequence_.first_key + block.start, query = sequence_.first_query + first_;
    terms.key_scores = call_.key_scores ? call_.key_scores + key : nullptr;
    terms.key_ranks = call_.key_ranks + key;
    terms.kept = kept_;
    terms.scale = call_.scale * LOG2E;
    terms.dropout_scale = call_.dropout_scale;
    terms.pattern = &pattern_;
    if (masked && pattern_.has_keep) draw_below<16>(call_.keep, query, count_, block.start, block.count, kept_);
    terms.dropped = call_.dropout.rows ? dropped_ : nullptr;
    if (terms.dropped) draw_below<32>(call_.dropout, query, count_, (head << 20) + block.start, block.count, dropped_);
    return terms;
  }

 private:
  const AttentionCall& call_;
  int32_t *kept_, *dropped_;
  TilePattern pattern_;
  Sequence sequence_{};
  int64_t first_ = 0, lanes_ = 0, count_ = 0;
};

Block block_at(const AttentionCall& call, const Sequence& sequence, int64_t start, int64_t most) {
  Block block{start, sequence.num_keys - start < most ? sequence.num_keys - start : most, Range()};
  for (int64_t j = 0; j < block.count; j++) block.ranks.add(call.key_ranks[sequence.first_key + start + j]);
  return block;
}

template <class In>
const In* row_of(const void* base, int64_t row, int64_t row_stride, int64_t head, int64_t head_stride) {
  return static_cast<const In*>(base) + row * row_stride + head * head_stride;
}
