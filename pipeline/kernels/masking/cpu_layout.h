// Replace and lay out: one piece's rows, written straight into the padded views (pipeline/corruption/layout.py).

#pragma once

#include <cstring>

#include "cpu_select.h"

// A view while it is filled.
struct Rows {
  View* view;
  int64_t count = 0, sample_first = 0;

  bool has_room(int64_t more) const { return !view || count + more <= view->size; }

  // Number the rows of a piece, and close its sequence.
  void end_piece(int64_t piece, int64_t more, int64_t position, bool counted) {
    if (counted) {
      for (int64_t i = 0; i < more; ++i) view->positions[count + i] = static_cast<int32_t>(i);
    }
    const auto row = static_cast<int32_t>(count - sample_first);
    for (int64_t i = 0; i < more; ++i) view->sample_rows[count + i] = row + static_cast<int32_t>(i);
    std::fill_n(view->sample_positions + count, more, position);
    view->cu_seqlens[piece + 1] = static_cast<int32_t>(count += more);
  }

  // The tail, and the boundaries of the sequences that are not used.
  void finish(int64_t num_pieces, int32_t pad) const {
    const int64_t tail = view->size - count;
    std::fill_n(view->tokens + count, tail, pad);
    std::fill_n(view->positions + count, tail, 0);
    std::fill_n(view->sample_rows + count, tail, 0);
    std::fill_n(view->sample_positions + count, tail, -1);
    if (view->labels) std::fill_n(view->labels + count, tail, kIgnored);
    view->cu_seqlens[0] = 0;
    for (int64_t n = num_pieces + 1; n < view->num_boundaries; ++n) view->cu_seqlens[n] = static_cast<int32_t>(count);
  }
};

class Layouter {
 public:
  Layouter(const Plan& plan, const Draws& draws, View* encoder, View* decoder)
      : plan_(plan), draws_(draws), encoder_{encoder}, decoder_{decoder} {}

  void start_sample() { encoder_.sample_first = encoder_.count, decoder_.sample_first = decoder_.count; }

  // False if a view is too small: then the plan's bounds are wrong.
  bool lay_out(const Piece& piece, const Spans& spans, int64_t number, int64_t position) {
    piece_ = &piece, spans_ = &spans, tokens_ = piece.tokens, length_ = piece.length;
    int64_t encoder_count = 0, decoder_count = 0;
    count_rows(&encoder_count, &decoder_count);
    if (!encoder_.has_room(encoder_count) || !decoder_.has_room(decoder_count)) return false;
    const bool has_ends = plan_.ends && length_ > 0;
    View *encoder = encoder_.view, *decoder = decoder_.view;
    switch (plan_.layout) {
      case kSentinelTargets: corrupted_text(encoder), fills_and_spans(decoder); break;
      case kFullReconstruction: corrupted_text(encoder), original(decoder); break;
      case kInPlace: in_place(encoder, encoder_.count, has_ends); break;
      case kPermuted: permuted(encoder, has_ends); break;
      default: visible(encoder, has_ends), in_place(decoder, decoder_.count, has_ends);
    }
    encoder_.end_piece(number, encoder_count, position, plan_.layout != kVisibleOnly && plan_.layout != kPermuted);
    if (decoder) decoder_.end_piece(number, decoder_count, position, true);
    return true;
  }

  void finish(int64_t num_pieces) const {
    encoder_.finish(num_pieces, plan_.pad);
    if (decoder_.view) decoder_.finish(num_pieces, plan_.pad);
  }

 private:
  void count_rows(int64_t* encoder, int64_t* decoder) const {
    const int64_t hidden = spans_->num_tokens(), end = length_ > 0, ends = 2 * end * plan_.ends;
    const int64_t by_rule = plan_.replace == kTokenByToken ? hidden : spans_->count;
    const int64_t filled = plan_.replace == kDropped ? 0 : by_rule;
    switch (plan_.layout) {
      case kSentinelTargets: *encoder = length_ - hidden + filled + end, *decoder = hidden + filled + end; break;
      case kFullReconstruction: *encoder = length_ - hidden + filled + end, *decoder = length_ + end; break;
      case kInPlace:
      case kPermuted: *encoder = length_ + ends; break;
      default: *encoder = length_ - hidden + ends, *decoder = length_ + ends;
    }
  }

  int32_t replaced(int64_t i) const {
    if (plan_.mask_threshold == kCertain) return plan_.mask;
    const uint64_t kind = draws_.of(kReplace, piece_->place)[i], which = draws_.of(kRandomToken, piece_->place)[i];
    if (kind < plan_.mask_threshold) return plan_.mask;
    if (kind < plan_.random_threshold) return static_cast<int32_t>(plan_.ordinary[which * plan_.num_ordinary >> 32]);
    if (kind >= plan_.similar_threshold) return tokens_[i];
    return plan_.similar[tokens_[i] * plan_.similar_width + static_cast<int64_t>(which * plan_.similar_width >> 32)];
  }

  int32_t* fill(int32_t* out, int64_t span) const {
    switch (plan_.replace) {
      case kSentinel: *out++ = plan_.first_sentinel + static_cast<int32_t>(span); break;
      case kMaskPerSpan: *out++ = plan_.mask; break;
      case kTokenByToken:
        for (int64_t i = spans_->starts[span]; i < spans_->stops[span]; ++i) *out++ = replaced(i);
        break;
      default: break;
    }
    return out;
  }

  // Whole vectors at a time, the first LIKELY tokens without asking: what lies behind is written over, or slack.
  template <int LIKELY>
  int32_t* copy(int32_t* out, int64_t start, int64_t stop) const {
    static_assert(LIKELY <= kSlack, "reads and writes stay within the slack");
    const int32_t* from = tokens_ + start;
    const int64_t count = stop - start;
    std::memcpy(out, from, LIKELY * sizeof(int32_t));
    for (int64_t i = LIKELY; i < count; i += 16) std::memcpy(out + i, from + i, 16 * sizeof(int32_t));
    return out + count;
  }

  void corrupted_text(View* view) const {
    int32_t* out = view->tokens + encoder_.count;
    int64_t from = 0;
    for (int64_t s = 0; s < spans_->count; ++s) {
      out = fill(copy<32>(out, from, spans_->starts[s]), s);
      from = spans_->stops[s];
    }
    out = copy<32>(out, from, length_);
    if (length_ > 0) *out = plan_.eos;
  }

  void fills_and_spans(View* view) const {
    int32_t* out = view->labels + decoder_.count;
    for (int64_t s = 0; s < spans_->count; ++s) out = copy<16>(fill(out, s), spans_->starts[s], spans_->stops[s]);
    end_targets(view, out);
  }

  void original(View* view) const {
    int32_t* out = view->labels + decoder_.count;
    std::memcpy(out, piece_->original, length_ * sizeof(int32_t));
    end_targets(view, out + length_);
  }

  // The end token after the targets, and the decoder's input: the targets one row later.
  void end_targets(View* view, int32_t* out) const {
    if (length_ == 0) return;
    *out = plan_.eos;
    int32_t* tokens = view->tokens + decoder_.count;
    const int32_t* labels = view->labels + decoder_.count;
    *tokens = plan_.pad;
    std::memcpy(tokens + 1, labels, (out - labels) * sizeof(int32_t));
  }

  void in_place(View* view, int64_t row, bool ends) const {
    if (ends) {
      view->tokens[row] = plan_.cls, view->labels[row] = kIgnored;
      ++row;
      view->tokens[row + length_] = plan_.sep, view->labels[row + length_] = kIgnored;
    }
    int32_t *tokens = view->tokens + row, *labels = view->labels + row;
    std::memcpy(tokens, tokens_, length_ * sizeof(int32_t));
    std::fill(labels, labels + length_, kIgnored);
    for (int64_t s = 0; s < spans_->count; ++s) {
      for (int64_t i = spans_->starts[s]; i < spans_->stops[s]; ++i) labels[i] = tokens_[i], tokens[i] = replaced(i);
    }
  }

  void put_end(View* view, int64_t row, int32_t token, int64_t position) const {
    view->tokens[row] = token, view->positions[row] = static_cast<int32_t>(position);
    if (view->labels) view->labels[row] = kIgnored;
  }

  void permuted(View* view, bool ends) const {
    const int64_t kept = length_ - spans_->count;
    int64_t row = encoder_.count;
    if (ends) put_end(view, row++, plan_.cls, 0), put_end(view, row++, plan_.sep, length_ + 1);
    for (int64_t j = 0; j < length_; ++j, ++row) {
      const auto i = static_cast<int64_t>(static_cast<uint32_t>(spans_->order[j]));
      view->positions[row] = static_cast<int32_t>(i + ends);
      view->tokens[row] = j < kept ? tokens_[i] : replaced(i);
      view->labels[row] = j < kept ? kIgnored : tokens_[i];
    }
  }

  void visible(View* view, bool ends) const {
    int64_t row = encoder_.count, from = 0;
    if (ends) put_end(view, row++, plan_.cls, 0);
    for (int64_t s = 0; s <= spans_->count; ++s) {
      const int64_t to = s < spans_->count ? spans_->starts[s] : length_;
      for (; from < to; ++from, ++row) {
        view->tokens[row] = tokens_[from], view->positions[row] = static_cast<int32_t>(from + ends);
      }
      if (s < spans_->count) from = spans_->stops[s];
    }
    if (ends) put_end(view, row, plan_.sep, length_ + 1);
  }

  const Plan& plan_;
  const Draws& draws_;
  Rows encoder_, decoder_;
  const Piece* piece_ = nullptr;
  const Spans* spans_ = nullptr;
  const int32_t* tokens_ = nullptr;  // of the piece
  int64_t length_ = 0;
};
