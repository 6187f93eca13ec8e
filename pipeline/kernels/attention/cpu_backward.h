// Backward: one task is a group of sequences and one key head, with all query heads that read it. Included once per
// instruction set, inside its namespace.
//
// Stages of a sequence
// 1. per query head and tile of 64 queries: Q and dO packed as columns and as pairs, delta = sum(dO * O);
// 2. per block of keys, per query head, per tile that can see it:
//    S^T = K Q^T, dP^T = V dO^T, P^T and dS^T from them (masks and dropout drawn again),
//    dV += P^T dO, dK += dS^T Q, dQ^T += K^T dS^T, the bias and the key scores gather dS;
// 3. gradients written. A task writes what no other task writes, in an order of its own: bits do not depend on threads.

struct BackwardTask {
  int64_t first_sequence, stop_sequence;  // of the list of those with queries and keys
  int64_t kv_head;
  int64_t group;  // whose partial sums of the bias these are
};

template <class Ops, class In>
class Backward {
 public:
  using Elem = typename Ops::Elem;

  Backward(const AttentionCall& call, int64_t longest_query, int64_t longest_key)
      : call_(call),
        width_(round_up(call.head_dim, Ops::MULTIPLE)),
        sharing_(call.num_heads / call.num_kv_heads),
        rule_(call, scratch_) {
    const int64_t tiles = (longest_query + QUERIES - 1) / QUERIES * sharing_, size = QUERIES * width_;
    for (int64_t i = 0; i < sharing_; i++) biases_.emplace_back(call, longest_query, longest_key, scratch_);
    for (Elem** packed : {&q_columns_, &q_pairs_, &grad_out_columns_, &grad_out_pairs_})
      *packed = scratch_.take<Elem>(tiles * size);
    grad_q_ = scratch_.take<float>(tiles * size);
    logsumexp_ = scratch_.take<float>(tiles * QUERIES);
    delta_ = scratch_.take<float>(tiles * QUERIES);
    packing_ = scratch_.take<Elem>((BACKWARD_KEYS > QUERIES ? BACKWARD_KEYS : QUERIES) * width_);
    turned_ = scratch_.take<float>(size);
    for (Elem** packed : {&k_rows_, &k_columns_, &v_rows_}) *packed = scratch_.take<Elem>(BACKWARD_KEYS * width_);
    for (float** sums : {&grad_k_, &grad_v_}) *sums = scratch_.take<float>(BACKWARD_KEYS * width_);
    products_ = scratch_.take<float>(16 + BACKWARD_KEYS * (QUERIES + 16)) + 16;
    grad_products_ = scratch_.take<float>(BACKWARD_KEYS * QUERIES);
    for (Elem** rows : {&grads_.probabilities, &grads_.scores, &grads_.score_pairs})
      *rows = scratch_.take<Elem>(BACKWARD_KEYS * QUERIES);
    if (Ops::PACK == 1) grads_.scores = grads_.score_pairs;
    grads_.summed = bias_sums(call) > 0 || call.grad_key_scores ? products_ : nullptr;
  }

  // grad_bias, the bias's sums of each head, of the task's group; grad_key_scores [H, Tk].
  void run(const BackwardTask& task, const std::vector<Sequence>& sequences, float* grad_bias, float* grad_key_scores) {
    for (int64_t n = task.first_sequence; n < task.stop_sequence; n++) {
      const Sequence& sequence = sequences[n];
      const int64_t tiles = (sequence.num_queries + QUERIES - 1) / QUERIES;
      for (int64_t i = 0; i < sharing_; i++) {
        biases_[i].begin(sequence, task.kv_head * sharing_ + i);
        biases_[i].clear_gradient();
        for (int64_t tile = 0; tile < tiles; tile++)
          pack_tile(sequence, task.kv_head * sharing_ + i, tile, i * tiles + tile);
      }
      std::memset(grad_q_, 0, sharing_ * tiles * QUERIES * width_ * sizeof(float));
      for (int64_t start = 0; start < sequence.num_keys; start += BACKWARD_KEYS)
        run_keys(sequence, task.kv_head, block_at(call_, sequence, start, BACKWARD_KEYS), tiles, grad_bias,
                 grad_key_scores);
      for (int64_t i = 0; i < sharing_; i++) {
        const int64_t head = task.kv_head * sharing_ + i;
        if (grad_bias) biases_[i].fold_gradient(grad_bias + head * biases_[i].num_sums());
        for (int64_t tile = 0; tile < tiles; tile++) write_queries(sequence, head, tile, i * tiles + tile);
      }
    }
  }

 private:
  int64_t lanes_of(const Sequence& s, int64_t tile) const {
    const int64_t left = s.num_queries - tile * QUERIES;
    return left < QUERIES ? round_up(left, Ops::MULTIPLE) : QUERIES;
  }

  void pack_tile(const Sequence& s, int64_t head, int64_t tile, int64_t slot) {
    const int64_t row = s.first_query + tile * QUERIES, lanes = lanes_of(s, tile), size = QUERIES * width_;
    const int64_t count = s.num_queries - tile * QUERIES < lanes ? s.num_queries - tile * QUERIES : lanes;
    const int64_t stride = call_.num_heads * call_.head_dim;
    const In* grad_out = row_of<In>(call_.grad_out, row, stride, head, call_.head_dim);
    const In* out = row_of<In>(call_.out, row, stride, head, call_.head_dim);
    pack_tile_of(row_of<In>(call_.q, row, call_.q_row, head, call_.q_head), call_.q_row, count, lanes,
                 q_columns_ + slot * size, q_pairs_ + slot * size);
    pack_tile_of(grad_out, stride, count, lanes, grad_out_columns_ + slot * size, grad_out_pairs_ + slot * size);
    for (int64_t i = 0; i < QUERIES; i++) {
      logsumexp_[slot * QUERIES + i] = i < count ? call_.logsumexp[head * call_.num_queries + row + i] : INFINITY;
      delta_[slot * QUERIES + i] = i < count ? dot(grad_out + i * stride, out + i * stride, call_.head_dim) : 0.0f;
    }
  }

  void pack_tile_of(const In* from, int64_t stride, int64_t count, int64_t lanes, Elem* columns, Elem* pairs) {
    pack_rows<Ops>(from, stride, count, call_.head_dim, packing_, lanes, width_);
    transpose(packing_, lanes, width_ / Ops::PACK, width_ / Ops::PACK, columns, QUERIES);
    pair_rows<Ops>(packing_, lanes, width_, pairs);
  }

  void run_keys(const Sequence& s, int64_t kv_head, const Block& block, int64_t tiles, float* grad_bias,
                float* grad_key_scores) {
    const int64_t row = s.first_key + block.start, padded = round_up(block.count, Ops::MULTIPLE);
    const In* k = row_of<In>(call_.k, row, call_.k_row, kv_head, call_.k_head);
    const In* v = row_of<In>(call_.v, row, call_.v_row, kv_head, call_.v_head);
    pack_rows<Ops>(v, call_.v_row, block.count, call_.head_dim, v_rows_, padded, width_);
    pack_rows<Ops>(k, call_.k_row, block.count, call_.head_dim, k_rows_, padded, width_);
    pair_rows<Ops>(k_rows_, padded, width_, packing_);
    transpose(packing_, padded / Ops::PACK, width_, width_, k_columns_, BACKWARD_KEYS / Ops::PACK);
    bool begun = false;
    for (int64_t i = 0; i < sharing_; i++)
      for (int64_t tile = 0; tile < tiles; tile++) {
        const int64_t head = kv_head * sharing_ + i;
        rule_.begin_tile(s, tile * QUERIES, lanes_of(s, tile));
        const Sight sight = rule_.of(block);
        if (sight == Sight::NOTHING) continue;
        run_block(block, padded, head, biases_[i], i * tiles + tile, lanes_of(s, tile), sight == Sight::PART, begun);
        if (grad_bias)
          biases_[i].add_gradient(products_, tile * QUERIES, lanes_of(s, tile), block,
                                  grad_bias + head * biases_[i].num_sums());
        if (grad_key_scores)
          add_key_scores(block.count, lanes_of(s, tile), grad_key_scores + head * call_.num_keys + row);
        begun = true;
      }
    write_keys(call_.grad_k, grad_k_, call_.scale, row, block.count, kv_head, begun);
    write_keys(call_.grad_v, grad_v_, 1.0f, row, block.count, kv_head, begun);
  }

  void run_block(const Block& block, int64_t padded, int64_t head, Bias& bias, int64_t slot, int64_t lanes, bool masked,
                 bool begun) {
    const int64_t size = QUERIES * width_, stride = grads_.summed ? lanes + 16 : QUERIES;
    Ops::gemm(padded, lanes, width_, k_rows_, width_, q_columns_ + slot * size, QUERIES, products_, stride, false);
    Ops::gemm(padded, lanes, width_, v_rows_, width_, grad_out_columns_ + slot * size, QUERIES, grad_products_, QUERIES,
              false);
    const Terms terms = rule_.terms(block, head, bias, masked);
    const auto backward = masked ? softmax_backward_block<Ops, true> : softmax_backward_block<Ops, false>;
    backward(terms, products_, stride, grad_products_, block.count, padded, lanes, logsumexp_ + slot * QUERIES,
             delta_ + slot * QUERIES, grads_);
    if (grads_.summed) surround_with_zeros(block.count, lanes);
    Ops::gemm(padded, width_, lanes, grads_.probabilities, QUERIES, grad_out_pairs_ + slot * size, width_, grad_v_,
              width_, begun);
    Ops::gemm(padded, width_, lanes, grads_.scores, QUERIES, q_pairs_ + slot * size, width_, grad_k_, width_, begun);
    Ops::gemm(width_, lanes, padded, k_columns_, BACKWARD_KEYS, grads_.score_pairs, QUERIES, grad_q_ + slot * size,
              QUERIES, true);
  }

  void surround_with_zeros(int64_t count, int64_t lanes) {
    const int64_t stride = lanes + 16;
    std::memset(products_ - 16, 0, 16 * sizeof(float));
    for (int64_t row = 0; row < count; row++) std::memset(products_ + row * stride + lanes, 0, 16 * sizeof(float));
    std::memset(products_ + count * stride, 0, (round_up(count, 16) - count) * stride * sizeof(float));
  }

  void add_key_scores(int64_t count, int64_t lanes, float* to) {
    for (int64_t row = 0; row < count; row++) {
      Vec sums{};
      for (int64_t lane = 0; lane < lanes; lane += W) sums += load(products_ + row * (lanes + 16) + lane);
      to[row] += sum(sums);
    }
  }

  void write_keys(void* to, const float* sums, float scale, int64_t row, int64_t count, int64_t kv_head, bool begun) {
    for (int64_t j = 0; j < count; j++) {
      In* grad = static_cast<In*>(to) + ((row + j) * call_.num_kv_heads + kv_head) * call_.head_dim;
      if (begun)
        write_row(sums + j * width_, scale, call_.head_dim, grad);
      else
        std::memset(grad, 0, call_.head_dim * sizeof(In));
    }
  }

  void write_queries(const Sequence& s, int64_t head, int64_t tile, int64_t slot) {
    const int64_t lanes = lanes_of(s, tile), left = s.num_queries - tile * QUERIES;
    transpose(grad_q_ + slot * QUERIES * width_, width_, lanes, QUERIES, turned_, width_);
    for (int64_t i = 0; i < QUERIES && i < left; i++) {
      const int64_t row = s.first_query + tile * QUERIES + i;
      In* grad = static_cast<In*>(call_.grad_q) + (row * call_.num_heads + head) * call_.head_dim;
      write_row(turned_ + i * width_, call_.scale, call_.head_dim, grad);
    }
  }

  const AttentionCall& call_;
  Scratch scratch_;
  const int64_t width_, sharing_;  // padded head dimension; query heads of one key head
  std::vector<Bias> biases_;
  Rule rule_;
  Elem *q_columns_, *q_pairs_, *grad_out_columns_, *grad_out_pairs_, *packing_, *k_rows_, *k_columns_, *v_rows_;
  float *grad_q_, *logsumexp_, *delta_, *turned_, *grad_k_, *grad_v_, *products_, *grad_products_;
  Gradients<Elem> grads_;
};
