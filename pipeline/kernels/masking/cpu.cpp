// Masking of a whole micro-batch, bit for bit what reference.py gives, piece by piece.
//
// 1. Philox bits of a sample's units, 16 blocks at a time (the loops over lanes become vector code)  (cpu_draws.h)
// 2. the piece's tokens as 32-bit numbers, its sentences in another order if asked for                (here)
// 3. spans, from "the k units with the smallest (key, index)" and integer tables                      (cpu_select.h)
// 4. the piece's rows, written straight into the padded views                                         (cpu_layout.h)
//
// Everything is integer arithmetic.

#include "cpu_draws.h"
#include "cpu_layout.h"
#include "cpu_plan.h"
#include "cpu_select.h"
#include "philox.h"

namespace {

class Masking {
 public:
  Masking(const Plan& plan, const Text& text, View* encoder, View* decoder)
      : plan_(plan), text_(text), draws_(plan), selector_(plan, draws_), layouter_(plan, draws_, encoder, decoder) {}

  bool run() {
    for (int64_t number = 0, sample = -1; number < text_.num_pieces; ++number) {
      if (text_.samples[number] != sample) {
        sample = text_.samples[number];
        draws_.start(text_.positions[sample], text_.sample_offsets[sample + 1] - text_.sample_offsets[sample]);
        layouter_.start_sample();
      }
      const Piece piece = read(number, text_.sample_offsets[sample]);
      if (!layouter_.lay_out(piece, selector_.choose(piece), number, text_.positions[sample])) return false;
    }
    layouter_.finish(text_.num_pieces);
    return true;
  }

 private:
  Piece read(int64_t number, int64_t sample_start) {
    const int64_t start = text_.offsets[number], length = text_.offsets[number + 1] - start;
    const uint8_t* column = text_.column ? text_.column + start : nullptr;
    const int32_t* tokens = read_tokens(start, length);
    if (!plan_.reorders) return {tokens, tokens, column, start - sample_start, length};
    reorder(tokens, column, start, length, start - sample_start);
    return {reordered_.data(), tokens, column ? column_.data() : nullptr, start - sample_start, length};
  }

  const int32_t* read_tokens(int64_t start, int64_t length) {
    grow(tokens_, length + kSlack);
    switch (text_.token_bytes) {
      case 2: return narrowed(static_cast<const uint16_t*>(text_.tokens) + start, length);
      case 4: return narrowed(static_cast<const uint32_t*>(text_.tokens) + start, length);
      default: return narrowed(static_cast<const int64_t*>(text_.tokens) + start, length);
    }
  }

  template <class T>
  const int32_t* narrowed(const T* from, int64_t length) {
    int32_t* tokens = tokens_.data();
    for (int64_t i = 0; i < length; ++i) tokens[i] = static_cast<int32_t>(from[i]);
    return tokens;
  }

  void reorder(const int32_t* tokens, const uint8_t* column, int64_t start, int64_t length, int64_t place) {
    selector_.cut(text_.sentences + start, length, starts_, stops_);
    const auto count = static_cast<int64_t>(starts_.size());
    grow(keys_, count), grow(reordered_, length + kSlack), grow(column_, length);
    const uint32_t* bits = draws_.of(kOrder, place);
    for (int64_t u = 0; u < count; ++u) keys_[u] = bits[starts_[u]];
    const auto& order = draws_.ordered(keys_.data(), count);
    for (int64_t u = 0, out = 0; u < count; ++u) {
      const auto sentence = static_cast<uint32_t>(order[u]);
      for (int64_t i = starts_[sentence]; i < stops_[sentence]; ++i, ++out) {
        reordered_[out] = tokens[i];
        if (column) column_[out] = column[i];
      }
    }
  }

  const Plan& plan_;
  const Text& text_;
  Draws draws_;
  Selector selector_;
  Layouter layouter_;
  std::vector<int32_t> tokens_, reordered_;
  std::vector<int64_t> starts_, stops_;
  std::vector<uint8_t> column_;
  std::vector<uint32_t> keys_;
};

}  // namespace

// Writes every element of the views. `decoder` is null where the layout has one view. 0: done, 1: a view is too small.
extern "C" int32_t masking_run(const Plan* plan, const Text* text, View* encoder, View* decoder) {
  return Masking(*plan, *text, encoder, decoder).run() ? 0 : 1;
}
