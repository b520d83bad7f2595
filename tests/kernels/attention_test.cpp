#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "sequences.h"

namespace trireme::testing {

namespace {

// Fills the positions that no row's window reaches, and names blocks that do not exist where none of a block is seen.
void spoil_before_windows(Sequences& s, float garbage) {
  const BF16 half = to_bf16(garbage);
  for (size_t i = 0; i < s.spans.size() && s.model.window > 0; i++)
    for (int p = 0; p < s.spans[i].first_position + 1 - s.model.window; p++) {
      int32_t& block = s.tables[i][static_cast<size_t>(p / kBlockTokens)];
      int64_t tiles = s.pages.block_heads * s.model.head_dim, lane = p % kBlockTokens;
      for (int64_t d = 0; d < int64_t{s.model.kv_heads} * s.model.head_dim; d++) {
        int64_t kv = d / s.model.head_dim, column = d % s.model.head_dim;
        int64_t k = (block * tiles + d) * kBlockTokens + lane;
        int64_t v = (block * tiles + kv * s.model.head_dim) * kBlockTokens + lane * s.model.head_dim + column;
        if (s.model.type == DType::f32)
          std::memcpy(s.pages.k + 4 * k, &garbage, 4), std::memcpy(s.pages.v + 4 * v, &garbage, 4);
        else
          std::memcpy(s.pages.k + 2 * k, &half, 2), std::memcpy(s.pages.v + 2 * v, &half, 2);
      }
      if (lane == kBlockTokens - 1) block = -0x10000000;
    }
}

const Model kModels[] = {
    {9, 3, 64, DType::bf16},
    {4, 4, 16, DType::f32},
    {6, 1, 40, DType::bf16},
    {2, 1, 256, DType::f32},
    {3, 3, 6, DType::bf16},
    {4, 2, 72, DType::bf16},
    {2, 2, 80, DType::f32},
    {14, 2, 96, DType::bf16},
    {2, 1, 160, DType::bf16},
    {4, 2, 64, DType::bf16, 2.5f},
    {7, 1, 20, DType::f32, 50, 33},
    {9, 3, 64, DType::bf16, 0, 7},
    {8, 1, 40, DType::bf16, 0, 1},
    {2, 2, 256, DType::f32, 0, 64},
    {6, 2, 64, DType::bf16, 0, 0, true},      // blocks of 8 queries on tensor cores
    {2, 2, 128, DType::bf16, 2.5f, 0, true},  // a query of a row
    {7, 1, 80, DType::bf16, 0, 33, true},     // no whole group of values
    {12, 1, 16, DType::bf16, 0, 7, true},     // 16 queries
    {17, 1, 32, DType::bf16, 0, 0, true},     // more
    {3, 1, 256, DType::bf16, 0, 0, true},
    {9, 2, 64, DType::bf16, 0, 0, true, 8, 7}};  // one head of the first KV head, eight of the next
const std::vector<Length> kLengths[] = {{{0, 1}},
                                        {{0, 37}},
                                        {{31, 1}, {32, 1}, {100, 1}},
                                        {{5, 28}, {60, 9}, {0, 3}},
                                        {{600, 1}},
                                        {{257, 5}, {511, 1}},
                                        {{40, 75}, {33, 1}, {90, 2}},
                                        std::vector<Length>(33, {40, 1})};

}  // namespace

TEST_CASE("a window of two positions and a softcap, by hand") {
  // One head of one column; keys are 0, 100, 1 and 3, so that a softcap of 2 gives scores 2 tanh(1/2) and 2 tanh(3/2).
  std::vector<float> k_page(kBlockTokens), v_page(kBlockTokens);
  k_page[1] = 100, k_page[2] = 1, k_page[3] = 3;
  v_page[0] = v_page[1] = 1e6f, v_page[2] = 10, v_page[3] = 20;
  KvPages pages{
      DType::f32, reinterpret_cast<std::byte*>(k_page.data()), reinterpret_cast<std::byte*>(v_page.data()), 1, 1, 1};
  const float q = 1;
  const int32_t table = 0, kv_head = 0;
  const AttentionSpan span{0, 1, 3, &table};
  double weight = std::exp(2 * std::tanh(0.5)), last = std::exp(2 * std::tanh(1.5));
  for (auto level : available_levels()) {
    float out = 0;
    select_kernels(level).attention({}, {{&q, 1, 1}, {&span, 1}, {&kv_head, 1}, 1, 2, 2, pages, {&out, 1, 1}});
    CHECK(out == doctest::Approx((weight * 10 + last * 20) / (weight + last)));
    select_kernels(level).attention({}, {{&q, 1, 1}, {&span, 1}, {&kv_head, 1}, 1, 2, 1, pages, {&out, 1, 1}});
    CHECK(out == 20);
  }
}

TEST_CASE("a window that no sequence fills changes no bit") {
  for (const auto& lengths : kLengths) {
    Sequences all = make(kModels[0], lengths, 0), wide = make(kModels[0], lengths, 0);
    for (int32_t window : {601, 0x7fffffff}) {
      wide.model.window = window;
      for (auto level : available_levels()) CHECK(attend(wide, level, 2) == attend(all, level, 2));
    }
  }
}

TEST_CASE("attention agrees with a textbook's in FP64") {
  for (const Model& model : kModels) {
    Sequences s = make(model, kLengths[3], 0);
    std::vector<float> out = attend(s, "reference", 1);
    // Weights carry errors of scores: some head_dim roundings of numbers of order head_dim, scaled; values are of
    // order 1. Of q in BF16: 2^-9 of scores of order 10.
    double tolerance = model.bf16_products ? 0x1p-5 : 0x1p-24 * (4 * model.head_dim + 100);
    for (size_t span = 0; span < s.spans.size(); span++)
      for (int row = 0; row < s.spans[span].rows; row++)
        for (int head = 0; head < model.heads; head++)
          for (int d = 0; d < model.head_dim; d += 5) {
            float seen =
                out[static_cast<size_t>(((s.spans[span].first_row + row) * model.heads + head) * model.head_dim + d)];
            CHECK(std::fabs(seen - exact_output(s, span, row, head, d)) < tolerance);
          }
  }
}

TEST_CASE("attention: every level and part count gives the reference's bits") {
  for (const Model& model : kModels)
    for (const auto& lengths : kLengths) {
      Sequences s = make(model, lengths, 0);
      std::vector<float> expected = attend(s, "reference", 1);
      for (auto level : levels_of(model))
        for (int parts : teams_of(level, {1, 2, 3})) {
          std::vector<float> out = attend(s, level, parts);
          CAPTURE(level);
          CAPTURE(model.head_dim);
          CHECK(is_reference(model, level, out, expected));
        }
    }
}

TEST_CASE("attention: many heads of a KV head, in steps of many sequences and in steps with prompts, too") {
  for (const Model& model : {Model{24, 2, 32, DType::bf16, 0, 0, true}, Model{34, 2, 80, DType::bf16, 0, 0, true},
                             Model{24, 2, 144, DType::bf16, 0, 0, true}})
    for (const std::vector<Length>& lengths : {std::vector<Length>(32, {33, 1}), {{33, 2}, {0, 11}}}) {
      const Sequences s = make(model, lengths, 0);
      const std::vector<float> expected = attend(s, "reference", 1);
      for (auto level : levels_of(model)) {
        CAPTURE(level);
        CAPTURE(model.head_dim);
        CHECK(is_reference(model, level, attend(s, level, 1), expected));
      }
    }
}

TEST_CASE("attention leaves its rows in the form of products, too: encode's bits, at every level") {
  for (const Model& model : {Model{9, 3, 64, DType::bf16}, Model{4, 4, 32, DType::f32}, Model{2, 1, 512, DType::bf16},
                             Model{4, 2, 96, DType::bf16, 0, 0, true}, Model{2, 1, 64, DType::bf16, 0, 0, true},
                             Model{2, 1, 256, DType::bf16, 0, 0, true}})
    for (ActivationForm form : kEncodedForms)
      for (const auto& lengths : kLengths) {
        const Sequences s = make(model, lengths, 0);
        const int64_t columns = int64_t{model.heads} * model.head_dim, row_bytes = activation_row_bytes(form, columns);
        const auto encoded_in = [&](Guarded& out) { return Activations{form, out.data(), s.rows, columns, row_bytes}; };
        Guarded encoded(static_cast<size_t>(s.rows * row_bytes));
        const std::vector<float> reference = attend(s, "reference", 1);
        for (auto level : levels_of(model)) {
          CAPTURE(level);
          const std::vector<float> expected = attend(s, level, 1);
          CHECK(is_reference(model, level, expected, reference));
          select_kernels("reference").encode({}, {{expected.data(), s.rows, columns}, encoded_in(encoded)});
          Guarded out(static_cast<size_t>(s.rows * row_bytes)), floats(expected.size() * 4);
          Attention attention = s.attention(floats.floats());
          attention.encoded = encoded_in(out);
          each_part(teams_of(level, {3})[0],
                    [&](const Launch& launch) { select_kernels(level).attention(launch, attention); });
          CHECK(std::equal(encoded.data(), encoded.data() + s.rows * row_bytes, out.data()));
          CHECK(same_floats(floats.floats(), expected.data(), expected.size()));
          CHECK(out.intact());
        }
      }
}

TEST_CASE("attention: wide heads have the reference's bits with whatever shared memory a GPU has") {
  for (const Model& model :
       {Model{2, 1, 512, DType::f32}, Model{3, 1, 400, DType::f32, 0, 40}, Model{2, 2, 512, DType::bf16}})
    for (const std::vector<Length>& lengths : {std::vector<Length>{{5, 28}, {60, 9}}, {{100, 1}}}) {
      Sequences s = make(model, lengths, NAN);
      std::vector<float> expected = attend(s, "reference", 1);
      for (auto level : levels_of(model))
        for (int kind = 0; kind < 3; kind++) {  // an emulated GPU has another one each time
          CAPTURE(level);
          CAPTURE(model.head_dim);
          CHECK(attend(s, level, 1) == expected);
        }
    }
}

TEST_CASE("whatever stands in unused slots, attention gives the same bits") {
  for (const Model& model : kModels)
    for (const auto& lengths : kLengths) {
      const Sequences clean = make(model, lengths, 0);
      for (auto level : levels_of(model)) {
        const std::vector<float> expected = attend(clean, level, 1);
        for (float garbage : {NAN, INFINITY, -1e30f}) {
          Sequences dirty = make(model, lengths, garbage);
          spoil_before_windows(dirty, garbage);
          const std::vector<float> out = attend(dirty, level, 1);
          CHECK(same_floats(out.data(), expected.data(), out.size()));
        }
      }
    }
}

TEST_CASE("a row of attention does not depend on the rows computed with it: chunks of a prompt give the whole's bits") {
  for (const Model& model : kModels) {
    for (auto level : levels_of(model)) {
      Sequences whole = make(model, {{0, 70}}, 0);
      std::vector<float> expected = attend(whole, level, 1), out;
      int columns = model.heads * model.head_dim;
      for (int first = 0, chunk = 1; first < 70; first += chunk, chunk = chunk * 2 + 1) {
        Sequences part = make(model, {{0, 70}}, 0);
        int count = std::min(chunk, 70 - first);
        part.q.erase(part.q.begin(), part.q.begin() + first * columns);
        part.rows = count;
        part.spans[0].rows = count, part.spans[0].first_position = first;
        std::vector<float> rows = attend(part, level, 2);
        out.insert(out.end(), rows.begin(), rows.end());
      }
      CHECK(same_floats(out.data(), expected.data(), expected.size()));
    }
  }
}

TEST_CASE("an infinity, NaN or huge number among the values shows in rows that see it, and in no others") {
  for (const Model& model :
       {kModels[0], Model{9, 3, 64, DType::bf16, 0, 0, true}, Model{4, 4, 128, DType::bf16, 0, 9, true}})
    for (const Length length : {Length{0, 70}, Length{40, 2}})  // a prompt, and few queries
      for (const float strange : {NAN, INFINITY, 3e38f}) {
        const Sequences clean = make(model, {length}, 0);
        Sequences s = make(model, {length}, 0);
        constexpr int kPosition = 41;
        const int64_t tile =
            s.tables[0][kPosition / kBlockTokens] * s.pages.block_heads * model.head_dim * kBlockTokens;
        reinterpret_cast<BF16*>(s.pages.v)[tile + kPosition % kBlockTokens * model.head_dim + 5] = to_bf16(strange);
        const int64_t columns = int64_t{model.heads} * model.head_dim;
        for (auto level : levels_of(model)) {
          CAPTURE(level);
          const std::vector<float> all = attend(s, level, 1), expected = attend(clean, level, 1);
          for (int row = 0; row < length.now; row++) {
            const int position = length.before + row;
            const bool sees = position >= kPosition && (model.window == 0 || position < kPosition + model.window);
            const float *here = all.data() + row * columns, *there = expected.data() + row * columns;
            CHECK((here[5] != there[5]) == sees);
            if (!sees) CHECK(same_floats(here, there, static_cast<size_t>(columns)));
          }
        }
      }
}

}  // namespace trireme::testing
