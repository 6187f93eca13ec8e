// What every part works on: a sequence, and memory of its own. Included once per instruction set, in its namespace.

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
