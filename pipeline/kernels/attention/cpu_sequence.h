// One sequence and head: its rule, its blocks of keys. Included once per instruction set, in its namespace.

// Where each block's part of the rule's random tests is kept, and everything else a block of scores needs.
class Rule {
 public:
  Rule(const AttentionCall& call, Scratch& scratch)
      : call_(call),
        kept_(scratch.take<Bits>(BLOCK_ROWS * QUERY_VECTORS)),
        dropped_(scratch.take<Bits>(BLOCK_ROWS * QUERY_VECTORS)) {}

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
  Bits *kept_, *dropped_;
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
