// The raw text of consecutive samples: where each stands (pipeline/permutation.py, pipeline/stream.py), what pieces its
// window has, and their tokens and columns one after another.
//
// 1. of each sample the chunk and the window in it; chunks that are not held yet are told, and nothing is written
// 2. the boundaries of all pieces
// 3. the tokens, then each column
//
// Each stage asks for the memory of the next one first: the windows of a run lie anywhere in a block.

#include <cstdint>
#include <cstring>

namespace {

constexpr int kRounds = 8;
constexpr int64_t kLine = 64, kAhead = 4;  // bytes of a cache line; lines to ask for, the processor goes on by itself

struct Order {
  int64_t size, side_a, side_b;  // windows of the block, and the rectangle they are permuted in (side_a 0: they are not)
  uint32_t round_keys[kRounds];
  const int64_t* first_windows;  // [chunks + 1], counted in the block
  int64_t num_chunks;
  const int64_t* held;  // [chunks, 4 + columns] addresses: tokens, piece_starts, piece_stops, window_offsets, columns
  int64_t token_bytes, num_columns, halves;  // halves: each piece becomes two
};

// Where the arrays of a text lie in its memory, in bytes; column c is at columns + c * column_bytes.
struct Room {
  int64_t tokens, offsets, samples, sample_offsets, positions, columns, column_bytes;
  int64_t windows, pieces;  // addresses of scratch
};

struct Piece {
  const int64_t* chunk;
  int64_t start, length;
};

struct Window {
  const int64_t* chunk;
  int64_t number;
};

int64_t permuted(const Order& order, int64_t index) {
  const auto a = static_cast<uint64_t>(order.side_a), b = static_cast<uint64_t>(order.side_b);
  auto value = static_cast<uint64_t>(index);
  do {
    uint64_t right = value / a, left = value % a;
    for (int i = 0; i < kRounds; ++i) {
      const uint64_t modulus = i & 1 ? b : a;
      uint32_t bits = static_cast<uint32_t>(right) ^ order.round_keys[i];
      bits = (bits ^ (bits >> 16)) * 0x85EBCA6Bu;
      bits = (bits ^ (bits >> 13)) * 0xC2B2AE35u;
      bits ^= bits >> 16;
      uint64_t sum = left + (bits * modulus >> 32);  // both are below the modulus
      left = right;
      right = sum < modulus ? sum : sum - modulus;
    }
    value = right * a + left;
  } while (value >= static_cast<uint64_t>(order.size));
  return static_cast<int64_t>(value);
}

// The last chunk that begins at `window` or before it; chunks without windows are passed over.
int64_t chunk_of(const Order& order, int64_t window) {
  const int64_t* first = order.first_windows;
  int64_t low = 0;
  for (int64_t length = order.num_chunks; length > 1;) {
    const int64_t half = length / 2;
    low += first[low + half] <= window ? half : 0;
    length -= half;
  }
  return low;
}

template <class T>
T* pointer(int64_t address) {
  return reinterpret_cast<T*>(address);
}

void ask_for(int64_t address, int64_t bytes) {
  const int64_t end = bytes < kAhead * kLine ? bytes : kAhead * kLine;
  for (int64_t byte = 0; byte < end; byte += kLine) __builtin_prefetch(pointer<const char>(address + byte));
}

// Sequences of a window's piece: itself, or its first half and its rest. Returns how many pieces there are now.
int64_t cut(const Order& order, const Window& window, int64_t piece, Piece* pieces, int64_t count) {
  const int64_t start = pointer<const int32_t>(window.chunk[1])[piece], stop = pointer<const int32_t>(window.chunk[2])[piece];
  const int64_t middle = order.halves ? (start + stop) / 2 : stop;
  pieces[count++] = {window.chunk, start, middle - start};
  if (order.halves) pieces[count++] = {window.chunk, middle, stop - middle};
  return count;
}

void copy(const Piece* pieces, int64_t count, int64_t array, int64_t width, char* to) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t bytes = pieces[i].length * width;
    std::memcpy(to, pointer<const char>(pieces[i].chunk[array] + pieces[i].start * width), static_cast<size_t>(bytes));
    to += bytes;
  }
}

}  // namespace

// The text of the samples [rank, rank + count) of the block, which are the run's from `position` on, into `memory`.
// Returns the number of pieces; -1 - c: chunk c is not held.
extern "C" int64_t reading_gather(
    const Order* given, int64_t rank, int64_t position, int64_t count, char* memory, const Room* room) {
  const Order& order = *given;
  auto* windows = pointer<Window>(room->windows);
  auto* pieces = pointer<Piece>(room->pieces);
  auto* offsets = reinterpret_cast<int64_t*>(memory + room->offsets);
  auto* samples = reinterpret_cast<int64_t*>(memory + room->samples);
  auto* sample_offsets = reinterpret_cast<int64_t*>(memory + room->sample_offsets);
  auto* positions = reinterpret_cast<int64_t*>(memory + room->positions);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t window = order.side_a ? permuted(order, rank + i) : rank + i;
    const int64_t chunk = chunk_of(order, window), number = window - order.first_windows[chunk];
    const int64_t* held = order.held + chunk * (4 + order.num_columns);
    if (!held[0]) return -1 - chunk;
    windows[i] = {held, number};
    __builtin_prefetch(pointer<const int32_t>(held[3]) + number);
  }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t first = pointer<const int32_t>(windows[i].chunk[3])[windows[i].number];
    __builtin_prefetch(pointer<const int32_t>(windows[i].chunk[1]) + first);
    __builtin_prefetch(pointer<const int32_t>(windows[i].chunk[2]) + first);
  }
  int64_t num_pieces = 0, num_tokens = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t* bounds = pointer<const int32_t>(windows[i].chunk[3]) + windows[i].number;
    positions[i] = position + i;
    sample_offsets[i] = num_tokens;
    for (int64_t piece = bounds[0]; piece < bounds[1]; ++piece) {
      const int64_t before = num_pieces;
      num_pieces = cut(order, windows[i], piece, pieces, num_pieces);
      for (int64_t p = before; p < num_pieces; ++p) {
        ask_for(pieces[p].chunk[0] + pieces[p].start * order.token_bytes, pieces[p].length * order.token_bytes);
        samples[p] = i;
        offsets[p] = num_tokens;
        num_tokens += pieces[p].length;
      }
    }
  }
  sample_offsets[count] = offsets[num_pieces] = num_tokens;
  copy(pieces, num_pieces, 0, order.token_bytes, memory + room->tokens);
  for (int64_t column = 0; column < order.num_columns; ++column)
    copy(pieces, num_pieces, 4 + column, 1, memory + room->columns + column * room->column_bytes);
  return num_pieces;
}
