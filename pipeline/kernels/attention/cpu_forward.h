// Forward: one task is a run of query tiles of one sequence and head. Included once per instruction set.
//
// Stages of a task
// 1. K as rows, V transposed, both packed once;
// 2. per tile of 64 queries, per block of keys the tile can see: S^T = K Q^T, softmax against the running maximum,
//    O^T (+)= V^T P^T (keys are rows and queries lanes, so no intermediate is ever transposed);
// 3. O = (O^T / sum)^T, and log2 of the sum of exponentials for backward.

struct ForwardTask {
  Sequence sequence;
  int64_t head, first, stop;  // queries of the sequence
};

template <class Ops, class In>
class Forward {
 public:
  using Elem = typename Ops::Elem;

  Forward(const AttentionCall& call, int64_t longest_query, int64_t longest_key)
      : call_(call),
        width_(round_up(call.head_dim, Ops::MULTIPLE)),
        bias_(call, longest_query, longest_key, scratch_),
        rule_(call, scratch_) {
    const int64_t keys = round_up(longest_key, Ops::MULTIPLE);
    k_rows_ = scratch_.take<Elem>(keys * width_);
    v_columns_ = scratch_.take<Elem>(keys * width_);
    packing_ = scratch_.take<Elem>(2 * (keys > QUERIES ? keys : QUERIES) * width_);
    q_columns_ = scratch_.take<Elem>(QUERIES * width_);
    products_ = scratch_.take<float>(FORWARD_KEYS * QUERIES);
    probabilities_ = scratch_.take<Elem>(FORWARD_KEYS * QUERIES);
    gathered_ = scratch_.take<float>(width_ * QUERIES);
    turned_ = scratch_.take<float>(width_ * QUERIES);
  }

  void run(const ForwardTask& task) {
    const Sequence& sequence = task.sequence;
    const int64_t kv_head = task.head / (call_.num_heads / call_.num_kv_heads);
    pack_keys(sequence, kv_head);
    bias_.begin(sequence, task.head);
    for (int64_t first = task.first; first < task.stop; first += QUERIES) {
      const int64_t left = task.stop - first < QUERIES ? task.stop - first : QUERIES;
      run_tile(sequence, task.head, first, round_up(left, Ops::MULTIPLE));
    }
  }

 private:
  void pack_keys(const Sequence& s, int64_t kv_head) {
    padded_keys_ = round_up(s.num_keys, Ops::MULTIPLE);
    const In* k = row_of<In>(call_.k, s.first_key, call_.k_row, kv_head, call_.k_head);
    const In* v = row_of<In>(call_.v, s.first_key, call_.v_row, kv_head, call_.v_head);
    pack_rows<Ops>(k, call_.k_row, s.num_keys, call_.head_dim, k_rows_, padded_keys_, width_);
    Elem* pairs = packing_ + padded_keys_ * width_;
    pack_rows<Ops>(v, call_.v_row, s.num_keys, call_.head_dim, packing_, padded_keys_, width_);
    pair_rows<Ops>(packing_, padded_keys_, width_, pairs);
    transpose(pairs, padded_keys_ / Ops::PACK, width_, width_, v_columns_, padded_keys_ / Ops::PACK);
  }

  void run_tile(const Sequence& s, int64_t head, int64_t first, int64_t lanes) {
    rule_.begin_tile(s, first, lanes);
    const In* q = row_of<In>(call_.q, s.first_query + first, call_.q_row, head, call_.q_head);
    pack_rows<Ops>(q, call_.q_row, rule_.count(), call_.head_dim, packing_, lanes, width_);
    transpose(packing_, lanes, width_ / Ops::PACK, width_ / Ops::PACK, q_columns_, QUERIES);
    running_.reset();
    bool begun = false;
    for (int64_t start = 0; start < s.num_keys; start += FORWARD_KEYS) {
      const Block block = block_at(call_, s, start, FORWARD_KEYS);
      const Sight sight = rule_.of(block);
      if (sight == Sight::NOTHING) continue;
      run_block(block, head, lanes, sight == Sight::PART, begun);
      begun = true;
    }
    write(s, head, first, lanes, begun);
  }

  void run_block(const Block& block, int64_t head, int64_t lanes, bool masked, bool begun) {
    const int64_t padded = round_up(block.count, Ops::MULTIPLE);
    Ops::gemm(padded, lanes, width_, k_rows_ + block.start * width_, width_, q_columns_, QUERIES, products_, QUERIES,
              false);
    const Terms terms = rule_.terms(block, head, bias_, masked);
    const auto softmax = masked ? softmax_block<Ops, true> : softmax_block<Ops, false>;
    softmax(terms, products_, block.count, padded, lanes, running_, probabilities_);
    if (begun && running_.changed) rescale(lanes);
    Ops::gemm(width_, lanes, padded, v_columns_ + block.start, padded_keys_, probabilities_, QUERIES, gathered_,
              QUERIES, begun);
  }

  void rescale(int64_t lanes) {
    for (int64_t d = 0; d < width_; d++)
      for (int64_t lane = 0; lane < lanes; lane += W) {
        float* at = gathered_ + d * QUERIES + lane;
        store(at, load(at) * load(running_.correction + lane));
      }
  }

  void write(const Sequence& s, int64_t head, int64_t first, int64_t lanes, bool begun) {
    if (begun) transpose(gathered_, width_, lanes, QUERIES, turned_, width_);
    for (int64_t i = 0; i < rule_.count(); i++) {
      const int64_t row = s.first_query + first + i;
      const float total = running_.total[i];
      const bool sees = total != 0;  // a NaN counts as seen, and stays
      In* out = static_cast<In*>(call_.out) + (row * call_.num_heads + head) * call_.head_dim;
      if (sees)
        write_row(turned_ + i * width_, 1.0f / total, call_.head_dim, out);
      else
        std::memset(out, 0, call_.head_dim * sizeof(In));
      call_.logsumexp[head * call_.num_queries + row] = sees ? running_.greatest[i] + std::log2(total) : INFINITY;
    }
  }

  const AttentionCall& call_;
  Scratch scratch_;
  const int64_t width_;
  Bias bias_;
  Rule rule_;
  Running running_;
  int64_t padded_keys_ = 0;
  Elem *k_rows_, *v_columns_, *packing_, *q_columns_, *probabilities_;
  float *products_, *gathered_, *turned_;
};
