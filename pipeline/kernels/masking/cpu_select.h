// Select: the spans of one piece, by pipeline/corruption/select*.py.

#pragma once

#include "cpu_draws.h"

// One piece's spans, in tokens from the piece's start; and its tokens in a drawn order, for kPermutationTail.
struct Spans {
  std::vector<int64_t> starts, stops;
  std::vector<uint64_t> order;
  int64_t count = 0;

  void add(int64_t start, int64_t stop) {
    starts[count] = start;
    stops[count++] = stop;
  }
  int64_t num_tokens() const {
    int64_t tokens = 0;
    for (int64_t s = 0; s < count; ++s) tokens += stops[s] - starts[s];
    return tokens;
  }
};

class Selector {
 public:
  Selector(const Plan& plan, Draws& draws) : plan_(plan), draws_(draws) {}

  const Spans& choose(const Piece& piece) {
    piece_ = &piece, length_ = piece.length;
    keys_ = draws_.of(kSelect, piece.place);
    spans_.count = 0;
    grow(spans_.starts, length_ + 2), grow(spans_.stops, length_ + 2);
    switch (plan_.select) {
      case kT5Spans: t5_spans(); break;
      case kEachToken: each_token(); break;
      case kExactlyK: exactly_k(keys_); break;
      case kWeighted: weighted(); break;
      case kPermutationTail: permutation_tail(); break;
      case kSuffix: suffix(); break;
      case kUnits: units(); break;
      default: drawn_spans();
    }
    return spans_;
  }

  // The piece's units by `marks`: starts and stops.
  void cut(const uint8_t* marks, int64_t length, std::vector<int64_t>& starts, std::vector<int64_t>& stops) {
    starts.clear(), stops.clear();
    bool open = false;
    for (int64_t i = 0; i < length; ++i) {
      if (marks[i] == kContinues && i > 0) continue;
      if (open) stops.push_back(i);
      if ((open = marks[i] != kOutside)) starts.push_back(i);
    }
    if (open) stops.push_back(length);
  }

 private:
  void t5_spans() {
    const int64_t noise = plan_.num_selected[length_], count = plan_.num_spans[length_], rest = length_ - noise;
    if (count == 0) return;
    const bool free = plan_.free_edges;
    const auto& inner = draws_.smallest_k(keys_, noise - 1, count - 1, inner_);
    const uint32_t* rest_keys = keys_ + noise - 1;
    const auto& outer = draws_.smallest_k(rest_keys, free ? rest + 1 : rest - 1, free ? count : count - 1, outer_);
    for (int64_t j = 0, before = 0; j < count; ++j) {
      const bool last = j == count - 1;
      const int64_t after = last ? noise : inner[j] + 1;
      const int64_t gap = free ? outer[j] : (last ? rest : outer[j] + 1);
      spans_.add(gap + before, gap + after);
      before = after;
    }
  }

  void each_token() {
    for (int64_t i = 0; i < length_; ++i) {
      spans_.starts[spans_.count] = i;
      spans_.stops[spans_.count] = i + 1;
      spans_.count += keys_[i] < plan_.select_threshold;
    }
  }

  void exactly_k(const uint32_t* keys) {
    const int64_t count = plan_.num_selected[length_];
    const auto& chosen = draws_.smallest_k(keys, length_, count, outer_);
    for (int64_t j = 0; j < count; ++j) spans_.add(chosen[j], chosen[j] + 1);
  }

  void weighted() {
    grow(unit_keys_, length_);
    for (int64_t i = 0; i < length_; ++i) unit_keys_[i] = weighted_key(keys_[i], piece_->column[i], plan_.log2_table);
    exactly_k(unit_keys_.data());
  }

  void permutation_tail() {
    const int64_t count = plan_.num_selected[length_];
    const auto& order = draws_.ordered(keys_, length_);
    spans_.order.assign(order.begin(), order.begin() + length_);
    outer_.assign(length_, 0);
    for (int64_t j = length_ - count; j < length_; ++j) outer_[static_cast<uint32_t>(order[j])] = 1;
    for (int64_t i = 0; i < length_; ++i) {
      if (outer_[i]) spans_.add(i, i + 1);
    }
  }

  void drawn_spans() {
    int64_t left = plan_.num_selected[length_], count = 0;
    const int64_t rest = length_ - left, most = plan_.num_spans[length_];
    const uint32_t* lengths = draws_.of(kLength, piece_->place);
    for (; left > 0 && count < most; ++count) {
      const int64_t span = count == most - 1 ? left : std::min(drawn_length(lengths[count]), left);
      spans_.stops[count] = span;  // the length, until the start is known
      left -= span;
    }
    const auto& gaps = draws_.smallest_k(keys_, rest + 1, count, outer_);
    for (int64_t j = 0, hidden = 0; j < count; ++j) {
      const int64_t span = spans_.stops[j];
      spans_.starts[j] = gaps[j] + hidden;
      spans_.stops[j] = spans_.starts[j] + span;
      hidden += span;
    }
    spans_.count = count;
  }

  void suffix() {
    if (length_ < 2) return;
    spans_.add(1 + static_cast<int64_t>(*keys_ * static_cast<uint64_t>(length_ - 1) >> 32), length_);
  }

  void units() {
    cut(piece_->column, length_, starts_, stops_);
    if (plan_.joins_units) join_units();
    const auto count = static_cast<int64_t>(starts_.size());
    grow(unit_keys_, count);
    for (int64_t u = 0; u < count; ++u) unit_keys_[u] = keys_[starts_[u]];
    outer_.assign(count + 1, 0);
    if (plan_.unit_draw == kFitting) {
      fit_units(count);
    } else if (plan_.unit_draw == kEachUnit) {
      for (int64_t u = 0; u < count; ++u) outer_[u] = unit_keys_[u] < plan_.select_threshold;
    } else {
      const int64_t wanted = std::min(plan_.share_of_units[count], plan_.max_units);
      const auto& chosen = draws_.smallest_k(unit_keys_.data(), count, wanted, inner_);
      for (int64_t j = 0; j < wanted; ++j) outer_[chosen[j]] = 1;
    }
    for (int64_t u = 0; u < count; ++u) {
      if (outer_[u]) spans_.add(starts_[u], stops_[u]);
    }
  }

  // Runs of units, of drawn lengths, from the left.
  void join_units() {
    const uint32_t* lengths = draws_.of(kLength, piece_->place);
    const auto count = static_cast<int64_t>(starts_.size());
    int64_t runs = 0;
    for (int64_t u = 0; u < count; ++runs) {
      const int64_t next = std::min(u + drawn_length(lengths[starts_[u]]), count);
      starts_[runs] = starts_[u], stops_[runs] = stops_[next - 1];
      u = next;
    }
    starts_.resize(runs), stops_.resize(runs);
  }

  void fit_units(int64_t count) {
    int64_t left = plan_.num_selected[length_];
    const auto& order = draws_.ordered(unit_keys_.data(), count);
    for (int64_t j = 0; j < count && left > 0; ++j) {
      const auto unit = static_cast<uint32_t>(order[j]);
      const int64_t tokens = stops_[unit] - starts_[unit];
      if (tokens > left) continue;
      outer_[unit] = 1;
      left -= tokens;
    }
  }

  int64_t drawn_length(uint32_t bits) const {
    int64_t length = 0;
    while (length < plan_.length_table_size - 1 && plan_.length_table[length] <= static_cast<int64_t>(bits)) ++length;
    return length;
  }

  const Plan& plan_;
  Draws& draws_;
  const Piece* piece_ = nullptr;
  const uint32_t* keys_ = nullptr;
  int64_t length_ = 0;
  Spans spans_;
  std::vector<int32_t> inner_, outer_;
  std::vector<uint32_t> unit_keys_;
  std::vector<int64_t> starts_, stops_;
};
