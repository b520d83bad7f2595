#pragma once

// Sequences with a cache of keys and values, for the tests of attention.
#include <doctest/doctest.h>

#include <string_view>
#include <vector>

#include "fixture.h"

namespace trireme::testing {

struct Model {
  int heads, kv_heads, head_dim;
  DType type;
  float softcap = 0;
  int32_t window = 0;
  bool bf16_products = false;
  int group = 0;       // > 0: heads of a KV head, of which a rank has some only: its first head is
  int first_head = 0;  // this one

  int kv_head_of(int head) const {
    return group > 0 ? (first_head + head) / group - first_head / group : head * kv_heads / heads;
  }
};

// Those that have the model's attention; the reference has every one.
std::vector<std::string_view> levels_of(const Model& model);

// Sequences with their pages: a pool of blocks handed out backwards, all memory that holds no position filled with
// `garbage`.
struct Sequences {
  Model model;
  KvPages pages;
  Guarded k, v;
  std::vector<int32_t> kv_head_of;
  std::vector<std::vector<int32_t>> tables;
  std::vector<AttentionSpan> spans;
  std::vector<float> q, cosine, sine;
  int64_t rows = 0;

  float scale() const { return 1 / std::sqrt(static_cast<float>(model.head_dim)); }
  Attention attention(float* out) const {
    int64_t columns = int64_t{model.heads} * model.head_dim;
    return {{const_cast<float*>(q.data()), rows, columns},
            spans,
            kv_head_of,
            scale(),
            model.softcap,
            model.window,
            pages,
            {out, rows, columns},
            {},
            model.bf16_products};
  }
};

struct Length {
  int32_t before, now;  // positions in the cache before, rows of this step
};

Sequences make(const Model& model, const std::vector<Length>& lengths, float garbage);

// workspace: Launch's.
std::vector<float> attend(const Sequences& s, std::string_view level, int parts, std::span<std::byte> workspace = {});

// Of a real GPU's tensor cores, near: they add in an order of their own.
bool is_reference(const Model& model, std::string_view level, const std::vector<float>& out,
                  const std::vector<float>& reference);

// Softmax attention of one output in FP64, as a textbook has it.
double exact_output(const Sequences& s, size_t span, int row, int head, int d);

}  // namespace trireme::testing
