// Masking of a whole micro-batch, bit for bit what reference.py gives: per piece select, replace, lay out.
//
// 1. Philox bits of a sample's units, 16 blocks at a time (the loops over lanes become vector code)
// 2. spans of a piece, from "the k units with the smallest (key, index)" and integer tables
// 3. the piece's rows, written straight into the padded views
//
// The structures are those of cpu.py, field by field. Everything is integer arithmetic.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "philox.h"

namespace {

enum Select : int64_t { kT5Spans, kEachToken, kExactlyK, kDrawnSpans, kSuffix };
enum Replace : int64_t { kSentinel, kMaskPerSpan, kTokenByToken, kDropped };
enum Layout : int64_t { kSentinelTargets, kFullReconstruction, kInPlace, kVisibleOnly };
enum Purpose : uint32_t { kSelect, kLength, kReplace, kRandomToken };

constexpr int64_t kIgnored = -100;
constexpr uint64_t kCertain = uint64_t{1} << 32;  // the threshold of an event that always happens

}  // namespace

struct Plan {
  int64_t select, replace, layout, free_edges, ends;
  uint64_t select_threshold, mask_threshold, random_threshold;
  const int64_t* num_selected;  // by the piece's length
  const int64_t* num_spans;
  const int64_t* length_table;
  int64_t length_table_size;
  const int64_t* ordinary;
  int64_t num_ordinary;
  int64_t first_sentinel, mask, pad, eos, cls, sep;
  uint32_t key_low, key_high;
};

struct Text {
  const int64_t* tokens;
  const int64_t* offsets;         // [P + 1]
  const int64_t* samples;         // [P]
  const int64_t* sample_offsets;  // [B + 1]
  const int64_t* positions;       // [B]
  int64_t num_pieces, num_samples;
};

struct View {
  int64_t *tokens, *positions, *sample_rows, *sample_positions, *labels;  // [size]; labels may be null
  int32_t* cu_seqlens;                                                    // [num_boundaries]
  int64_t size, num_boundaries;
};

namespace {

// One piece's spans, in tokens from the piece's start.
struct Spans {
  std::vector<int64_t> starts, stops;
  int64_t count = 0;

  void reserve(int64_t n) {
    if (static_cast<int64_t>(starts.size()) < n) starts.resize(n), stops.resize(n);
  }
};

class Masking {
 public:
  Masking(const Plan& plan, const Text& text) : plan_(plan), text_(text) {}

  // False if a view is too small: then the plan's bounds are wrong.
  bool run(View* encoder, View* decoder) {
    for (int64_t piece = 0, sample = -1; piece < text_.num_pieces; ++piece) {
      if (text_.samples[piece] != sample) start_sample(sample = text_.samples[piece]);
      const int64_t start = text_.offsets[piece];
      place_ = start - text_.sample_offsets[sample];
      tokens_ = text_.tokens + start;
      length_ = text_.offsets[piece + 1] - start;
      position_ = text_.positions[sample];
      spans_.count = 0;
      spans_.reserve(length_ + 2);
      select();
      if (!lay_out(encoder, decoder, piece)) return false;
    }
    finish(encoder, encoder_rows_);
    if (decoder) finish(decoder, decoder_rows_);
    return true;
  }

 private:
  void start_sample(int64_t sample) {
    const int64_t count = text_.sample_offsets[sample + 1] - text_.sample_offsets[sample];
    const bool by_token = plan_.replace == kTokenByToken;
    draw(kSelect, sample, count);
    if (plan_.select == kDrawnSpans) draw(kLength, sample, count);
    if (by_token && plan_.mask_threshold < kCertain) {
      draw(kReplace, sample, count);
      draw(kRandomToken, sample, count);
    }
    encoder_sample_ = encoder_rows_, decoder_sample_ = decoder_rows_;
  }

  void draw(Purpose purpose, int64_t sample, int64_t count) {
    std::vector<uint32_t>& bits = bits_[purpose];
    const int64_t blocks = (count + 3) / 4;
    const size_t room = static_cast<size_t>(4 * (blocks + kLanes));
    if (bits.size() < room) bits.resize(room);
    const auto position = static_cast<uint64_t>(text_.positions[sample]);
    for (int64_t b = 0; b < blocks; b += kLanes) {
      philox_lanes(static_cast<uint32_t>(b), purpose, position, plan_.key_low, plan_.key_high, bits.data() + 4 * b);
    }
  }

  const uint32_t* bits(Purpose purpose) const { return bits_[purpose].data() + place_; }

  // The k of n units with the smallest (key, index), ascending by index. Only likely ones are looked at twice.
  const std::vector<int32_t>& smallest_k(const uint32_t* keys, int64_t n, int64_t k, std::vector<int32_t>& out) {
    if (static_cast<int64_t>(out.size()) < n + 1) out.resize(n + 1);
    if (k <= 0) return out;
    if (k >= n) {
      for (int64_t i = 0; i < n; ++i) out[i] = static_cast<int32_t>(i);
      return out;
    }
    if (static_cast<int64_t>(likely_.size()) < n + 1) likely_.resize(n + 1);
    const double share = (k + 4.0 * std::sqrt(static_cast<double>(k)) + 8.0) / n;  // only a guess: never changes bits
    uint64_t limit = share < 1.0 ? static_cast<uint64_t>(share * kCertain) : kCertain;
    int64_t count = below(keys, n, limit);
    if (count < k) count = below(keys, n, kCertain);
    ordered_.assign(likely_.begin(), likely_.begin() + count);
    std::nth_element(ordered_.begin(), ordered_.begin() + (k - 1), ordered_.end());
    const uint64_t last = ordered_[k - 1];
    for (int64_t i = 0, taken = 0; i < count && taken < k; ++i) {
      out[taken] = static_cast<int32_t>(likely_[i]);
      taken += likely_[i] <= last;
    }
    return out;
  }

  int64_t below(const uint32_t* keys, int64_t n, uint64_t limit) {
    int64_t count = 0;
    uint64_t* likely = likely_.data();
    for (int64_t i = 0; i < n; ++i) {
      likely[count] = static_cast<uint64_t>(keys[i]) << 32 | static_cast<uint64_t>(i);
      count += keys[i] < limit;
    }
    return count;
  }

  void add(int64_t start, int64_t stop) {
    spans_.starts[spans_.count] = start;
    spans_.stops[spans_.count++] = stop;
  }

  void select() {
    switch (plan_.select) {
      case kT5Spans: return select_t5();
      case kEachToken: return select_each();
      case kExactlyK: return select_exactly();
      case kSuffix: return select_suffix();
      default: return select_drawn();
    }
  }

  void select_t5() {
    const int64_t noise = plan_.num_selected[length_], count = plan_.num_spans[length_], rest = length_ - noise;
    if (count == 0) return;
    const uint32_t* keys = bits(kSelect);
    const bool free = plan_.free_edges;
    const auto& inner = smallest_k(keys, noise - 1, count - 1, noise_cuts_);
    const auto& outer = smallest_k(keys + noise - 1, free ? rest + 1 : rest - 1, free ? count : count - 1, rest_cuts_);
    for (int64_t j = 0, before = 0; j < count; ++j) {
      const bool last = j == count - 1;
      const int64_t after = last ? noise : inner[j] + 1;
      const int64_t gap = free ? outer[j] : (last ? rest : outer[j] + 1);
      add(gap + before, gap + after);
      before = after;
    }
  }

  void select_each() {
    const uint32_t* keys = bits(kSelect);
    for (int64_t i = 0; i < length_; ++i) {
      spans_.starts[spans_.count] = i;
      spans_.stops[spans_.count] = i + 1;
      spans_.count += keys[i] < plan_.select_threshold;
    }
  }

  void select_exactly() {
    const int64_t count = plan_.num_selected[length_];
    const auto& chosen = smallest_k(bits(kSelect), length_, count, rest_cuts_);
    for (int64_t j = 0; j < count; ++j) add(chosen[j], chosen[j] + 1);
  }

  void select_drawn() {
    int64_t left = plan_.num_selected[length_], count = 0;
    const int64_t rest = length_ - left, most = plan_.num_spans[length_];
    const uint32_t* lengths = bits(kLength);
    for (; left > 0 && count < most; ++count) {
      const int64_t span = count == most - 1 ? left : std::min(drawn_length(lengths[count]), left);
      spans_.stops[count] = span;  // the length, until the start is known
      left -= span;
    }
    const auto& gaps = smallest_k(bits(kSelect), rest + 1, count, rest_cuts_);
    for (int64_t j = 0, hidden = 0; j < count; ++j) {
      const int64_t span = spans_.stops[j];
      spans_.starts[j] = gaps[j] + hidden;
      spans_.stops[j] = spans_.starts[j] + span;
      hidden += span;
    }
    spans_.count = count;
  }

  void select_suffix() {
    if (length_ < 2) return;
    const auto sizes = static_cast<uint64_t>(length_ - 1);
    add(1 + static_cast<int64_t>(*bits(kSelect) * sizes >> 32), length_);
  }

  int64_t drawn_length(uint32_t bits) const {
    int64_t length = 0;
    while (length < plan_.length_table_size - 1 && plan_.length_table[length] <= static_cast<int64_t>(bits)) ++length;
    return length;
  }

  int64_t replaced(int64_t i) const {
    if (plan_.mask_threshold == kCertain) return plan_.mask;
    const uint64_t kind = bits(kReplace)[i];
    if (kind < plan_.mask_threshold) return plan_.mask;
    if (kind >= plan_.random_threshold) return tokens_[i];
    return plan_.ordinary[static_cast<uint64_t>(bits(kRandomToken)[i]) * plan_.num_ordinary >> 32];
  }

  int64_t* fill(int64_t* out, int64_t span) const {
    switch (plan_.replace) {
      case kSentinel: *out++ = plan_.first_sentinel + span; break;
      case kMaskPerSpan: *out++ = plan_.mask; break;
      case kTokenByToken:
        for (int64_t i = spans_.starts[span]; i < spans_.stops[span]; ++i) *out++ = replaced(i);
        break;
      default: break;
    }
    return out;
  }

  int64_t* copy(int64_t* out, int64_t start, int64_t stop) const {
    const int64_t* from = tokens_ + start;
    const int64_t count = stop - start;
    for (int64_t i = 0; i < count; ++i) out[i] = from[i];
    return out + count;
  }

  int64_t num_hidden() const {
    int64_t hidden = 0;
    for (int64_t s = 0; s < spans_.count; ++s) hidden += spans_.stops[s] - spans_.starts[s];
    return hidden;
  }

  int64_t num_filled(int64_t hidden) const {
    return plan_.replace == kDropped ? 0 : plan_.replace == kTokenByToken ? hidden : spans_.count;
  }

  bool lay_out(View* encoder, View* decoder, int64_t piece) {
    const int64_t hidden = num_hidden(), filled = num_filled(hidden), end = length_ > 0;
    int64_t encoder_count = 0, decoder_count = 0;
    switch (plan_.layout) {
      case kSentinelTargets:
        encoder_count = length_ - hidden + filled + end, decoder_count = hidden + filled + end;
        break;
      case kFullReconstruction: encoder_count = length_ - hidden + filled + end, decoder_count = length_ + end; break;
      case kInPlace: encoder_count = length_ + 2 * end * plan_.ends; break;
      default: encoder_count = length_ - hidden, decoder_count = length_;
    }
    if (encoder_rows_ + encoder_count > encoder->size) return false;
    if (decoder && decoder_rows_ + decoder_count > decoder->size) return false;
    switch (plan_.layout) {
      case kSentinelTargets:
        corrupted_text(encoder);
        fills_and_spans(decoder);
        break;
      case kFullReconstruction:
        corrupted_text(encoder);
        original(decoder);
        break;
      case kInPlace: in_place(encoder, encoder_rows_, plan_.ends && end); break;
      default:
        visible(encoder);
        in_place(decoder, decoder_rows_, false);
    }
    number(encoder, encoder_rows_, encoder_count, encoder_sample_, plan_.layout != kVisibleOnly);
    encoder->cu_seqlens[piece + 1] = static_cast<int32_t>(encoder_rows_ += encoder_count);
    if (!decoder) return true;
    number(decoder, decoder_rows_, decoder_count, decoder_sample_, true);
    decoder->cu_seqlens[piece + 1] = static_cast<int32_t>(decoder_rows_ += decoder_count);
    return true;
  }

  void corrupted_text(View* view) const {
    int64_t *out = view->tokens + encoder_rows_, from = 0;
    for (int64_t s = 0; s < spans_.count; ++s) {
      out = fill(copy(out, from, spans_.starts[s]), s);
      from = spans_.stops[s];
    }
    out = copy(out, from, length_);
    if (length_ > 0) *out = plan_.eos;
  }

  void fills_and_spans(View* view) const {
    int64_t* out = view->labels + decoder_rows_;
    for (int64_t s = 0; s < spans_.count; ++s) out = copy(fill(out, s), spans_.starts[s], spans_.stops[s]);
    end_targets(view, out);
  }

  void original(View* view) const { end_targets(view, copy(view->labels + decoder_rows_, 0, length_)); }

  // The end token after the targets, and the decoder's input: the targets one row later.
  void end_targets(View* view, int64_t* out) const {
    if (length_ == 0) return;
    *out = plan_.eos;
    int64_t* tokens = view->tokens + decoder_rows_;
    const int64_t* labels = view->labels + decoder_rows_;
    *tokens = plan_.pad;
    std::memcpy(tokens + 1, labels, (out - labels) * sizeof(int64_t));
  }

  void in_place(View* view, int64_t row, bool ends) const {
    if (ends) {
      view->tokens[row] = plan_.cls, view->labels[row] = kIgnored;
      ++row;
      view->tokens[row + length_] = plan_.sep, view->labels[row + length_] = kIgnored;
    }
    int64_t *tokens = view->tokens + row, *labels = view->labels + row;
    std::memcpy(tokens, tokens_, length_ * sizeof(int64_t));
    std::fill(labels, labels + length_, kIgnored);
    for (int64_t s = 0; s < spans_.count; ++s) {
      for (int64_t i = spans_.starts[s]; i < spans_.stops[s]; ++i) labels[i] = tokens_[i], tokens[i] = replaced(i);
    }
  }

  void visible(View* view) const {
    int64_t row = encoder_rows_, from = 0;
    for (int64_t s = 0; s <= spans_.count; ++s) {
      const int64_t to = s < spans_.count ? spans_.starts[s] : length_;
      for (; from < to; ++from, ++row) view->tokens[row] = tokens_[from], view->positions[row] = from;
      if (s < spans_.count) from = spans_.stops[s];
    }
  }

  void number(View* view, int64_t first, int64_t count, int64_t sample_first, bool counted) const {
    if (counted) {
      for (int64_t i = 0; i < count; ++i) view->positions[first + i] = i;
    }
    const int64_t row = first - sample_first;
    for (int64_t i = 0; i < count; ++i) view->sample_rows[first + i] = row + i;
    std::fill_n(view->sample_positions + first, count, position_);
  }

  void finish(View* view, int64_t rows) const {
    const int64_t tail = view->size - rows;
    std::fill_n(view->tokens + rows, tail, plan_.pad);
    std::fill_n(view->positions + rows, tail, 0);
    std::fill_n(view->sample_rows + rows, tail, 0);
    std::fill_n(view->sample_positions + rows, tail, -1);
    if (view->labels) std::fill_n(view->labels + rows, tail, kIgnored);
    view->cu_seqlens[0] = 0;
    for (int64_t n = text_.num_pieces + 1; n < view->num_boundaries; ++n) {
      view->cu_seqlens[n] = static_cast<int32_t>(rows);
    }
  }

  const Plan& plan_;
  const Text& text_;
  std::vector<uint32_t> bits_[4];
  std::vector<uint64_t> likely_, ordered_;
  std::vector<int32_t> noise_cuts_, rest_cuts_;
  Spans spans_;
  const int64_t* tokens_ = nullptr;  // of the piece
  int64_t place_ = 0, length_ = 0, position_ = 0;
  int64_t encoder_rows_ = 0, decoder_rows_ = 0, encoder_sample_ = 0, decoder_sample_ = 0;
};

}  // namespace

// Writes every element of the views. `decoder` is null where the layout has one view. 0: done, 1: a view is too small.
extern "C" int32_t masking_run(const Plan* plan, const Text* text, View* encoder, View* decoder) {
  return Masking(*plan, *text).run(encoder, decoder) ? 0 : 1;
}
