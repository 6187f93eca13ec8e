// One instruction set's kernel: its parts, and the division of a call into tasks. No include guard: cpu.cpp includes it
// once per instruction set, inside that set's namespace.

#include "cpu_simd.h"
#include "cpu_tiles.h"
#include "cpu_pattern.h"
#include "cpu_softmax.h"
#include "cpu_scratch.h"
#include "cpu_fire.h"
#include "cpu_bias.h"
#include "cpu_sequence.h"
#include "cpu_forward.h"
#include "cpu_backward.h"

struct Sequences {
  std::vector<Sequence> both;  // those with queries and keys
  int64_t longest_query = 0, longest_key = 0, num_scores = 0;

  int num_threads(const AttentionCall& call) const {
    return num_scores * call.num_heads < SMALL_CALL ? 1 : call.num_threads;
  }
};

// Finds the sequences; calls `lonely_queries(first, stop)` and `lonely_keys(first, stop)` for rows in none of them.
template <class Queries, class Keys>
Sequences read_sequences(const AttentionCall& call, Queries lonely_queries, Keys lonely_keys) {
  Sequences found;
  for (int64_t n = 0; n < call.num_sequences; n++) {
    const Sequence s{n, call.cu_q[n], call.cu_q[n + 1] - call.cu_q[n], call.cu_k[n], call.cu_k[n + 1] - call.cu_k[n]};
    if (s.num_queries > 0 && s.num_keys > 0) {
      found.both.push_back(s);
      found.longest_query = std::max(found.longest_query, s.num_queries);
      found.longest_key = std::max(found.longest_key, s.num_keys);
      found.num_scores += s.num_queries * s.num_keys;
    } else {
      lonely_queries(s.first_query, s.first_query + s.num_queries);
      lonely_keys(s.first_key, s.first_key + s.num_keys);
    }
  }
  lonely_queries(call.cu_q[call.num_sequences], call.num_queries);
  lonely_keys(call.cu_k[call.num_sequences], call.num_keys);
  return found;
}

template <class In>
void clear_rows(void* to, int64_t first, int64_t stop, int64_t width) {
  std::memset(static_cast<In*>(to) + first * width, 0, (stop - first) * width * sizeof(In));
}

template <class Ops, class In>
void forward(const AttentionCall& call) {
  const auto clear = [&](int64_t first, int64_t stop) {
    clear_rows<In>(call.out, first, stop, call.num_heads * call.head_dim);
    for (int64_t h = 0; h < call.num_heads; h++)
      std::fill(call.logsumexp + h * call.num_queries + first, call.logsumexp + h * call.num_queries + stop, INFINITY);
  };
  const Sequences found = read_sequences(call, clear, [](int64_t, int64_t) {});
  std::vector<ForwardTask> tasks;
  for (const Sequence& s : found.both)
    for (int64_t head = 0; head < call.num_heads; head++)
      for (int64_t first = 0; first < s.num_queries; first += QUERIES_OF_A_TASK)
        tasks.push_back({s, head, first, std::min(first + QUERIES_OF_A_TASK, s.num_queries)});
  const int64_t num_tasks = tasks.size();
  if (num_tasks == 0) return;
#pragma omp parallel num_threads(found.num_threads(call))
  {
    Forward<Ops, In> worker(call, found.longest_query, found.longest_key);
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < num_tasks; i++) worker.run(tasks[i]);
    Ops::release();
  }
}

// Runs of sequences with about the same work each; a function of the sequences alone.
std::vector<BackwardTask> group_sequences(const std::vector<Sequence>& sequences, int64_t num_kv_heads) {
  int64_t work = 0, done = 0;
  for (const Sequence& s : sequences) work += s.num_queries * s.num_keys;
  std::vector<BackwardTask> tasks;
  int64_t first = 0, group = 0;
  for (int64_t n = 0; n < static_cast<int64_t>(sequences.size()); n++) {
    done += sequences[n].num_queries * sequences[n].num_keys;
    if (done * GROUPS < work && n + 1 < static_cast<int64_t>(sequences.size())) continue;
    for (int64_t head = 0; head < num_kv_heads; head++) tasks.push_back({first, n + 1, head, group});
    first = n + 1;
    group++;
    done = 0;
  }
  return tasks;
}

// to[i] = the sum over the parts, in their order.
void add_parts(const std::vector<float>& parts, int64_t size, float* to) {
  std::fill(to, to + size, 0.0f);
  for (size_t at = 0; at < parts.size(); at += size)
    for (int64_t i = 0; i < size; i++) to[i] += parts[at + i];
}

template <class Ops, class In>
void backward_tasks(const AttentionCall& call, const Sequences& found, const std::vector<BackwardTask>& tasks,
                    float* grad_bias, int64_t bias_size, float* grad_key_scores) {
  const int64_t num_tasks = tasks.size();
  if (num_tasks == 0) return;
#pragma omp parallel num_threads(found.num_threads(call))
  {
    Backward<Ops, In> worker(call, found.longest_query, found.longest_key);
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < num_tasks; i++)
      worker.run(tasks[i], found.both, grad_bias ? grad_bias + tasks[i].group * bias_size : nullptr, grad_key_scores);
    Ops::release();
  }
}

template <class Ops, class In>
void backward(const AttentionCall& call) {
  const int64_t width = call.num_heads * call.head_dim, kv_width = call.num_kv_heads * call.head_dim;
  const Sequences found = read_sequences(
      call, [&](int64_t first, int64_t stop) { clear_rows<In>(call.grad_q, first, stop, width); },
      [&](int64_t first, int64_t stop) {
        clear_rows<In>(call.grad_k, first, stop, kv_width);
        clear_rows<In>(call.grad_v, first, stop, kv_width);
      });
  const std::vector<BackwardTask> tasks = group_sequences(found.both, call.num_kv_heads);
  const int64_t groups = tasks.empty() ? 0 : tasks.back().group + 1;
  const int64_t bias_size = call.num_heads * bias_sums(call);
  std::vector<float> grad_bias(groups * bias_size), sums(bias_size);
  std::vector<float> grad_key_scores(call.grad_key_scores ? call.num_heads * call.num_keys : 0);
  backward_tasks<Ops, In>(call, found, tasks, bias_size > 0 ? grad_bias.data() : nullptr, bias_size,
                          call.grad_key_scores ? grad_key_scores.data() : nullptr);
  if (bias_size > 0) {
    add_parts(grad_bias, bias_size, sums.data());
    write_bias_gradient(call, sums.data());
  }
  if (call.grad_key_scores) add_parts(grad_key_scores, call.num_keys, call.grad_key_scores);
}

template <class Ops, class In>
void run(const AttentionCall& call, bool is_backward) {
  if (is_backward) return backward<Ops, In>(call);
  forward<Ops, In>(call);
}

[[maybe_unused]] void run_float32(const AttentionCall& call, bool is_backward) {
  if (call.is_bfloat16) return run<Float32, uint16_t>(call, is_backward);
  run<Float32, float>(call, is_backward);
}
