// Attention over more positions than a partition has: partitions are summed each by itself, on a GPU by several blocks.
#include <algorithm>

#include "sequences.h"

namespace trireme::testing {

namespace {

constexpr int kPartition = kPartitionBlocks * kBlockTokens;

const Model kModels[] = {{3, 1, 16, DType::bf16},
                         {2, 2, 40, DType::f32},
                         {4, 2, 32, DType::bf16, 2.5f, kPartition + 100},
                         {2, 1, 24, DType::f32, 0, kPartition},
                         {4, 2, 32, DType::bf16, 0, 0, true},
                         {7, 1, 16, DType::bf16, 2.5f, kPartition + 100, true},
                         {20, 1, 16, DType::bf16, 0, 0, true},  // more queries than a block takes
                         {2, 1, 144, DType::bf16, 0, kPartition, true},
                         {9, 2, 32, DType::bf16, 0, 0, true, 8, 7}};
const std::vector<Length> kLengths[] = {
    {{kPartition - 1, 1}},
    {{kPartition, 1}},
    {{4 * kPartition + 40, 1}},
    {{kPartition - 3, 5}, {5, 1}, {2 * kPartition - 1, 2}},  // rows on both sides of a border
    {{2 * kPartition - 20, 50}, {kPartition + 9, 1}}};

bool any(const std::byte* begin, const std::byte* end) {
  return std::any_of(begin, end, [](std::byte b) { return b != std::byte{0}; });
}

}  // namespace

TEST_CASE("many positions of equal scores, by hand: the mean of their values") {
  constexpr int kPositions = 3 * kPartition + 5;
  Sequences s = make({1, 1, 16, DType::f32}, {{kPositions - 1, 1}}, 0);
  std::fill(s.q.begin(), s.q.end(), 0.0f);
  for (int p = 0; p < kPositions; p++) {
    const int64_t block = s.tables[0][static_cast<size_t>(p / kBlockTokens)] * s.pages.block_heads;
    reinterpret_cast<float*>(s.pages.v)[(block * kBlockTokens + p % kBlockTokens) * 16] = static_cast<float>(p);
  }
  for (auto level : available_levels()) CHECK(attend(s, level, 1)[0] == doctest::Approx((kPositions - 1) / 2.0));
}

TEST_CASE("attention over many positions agrees with a textbook's in FP64") {
  for (const Model& model : kModels) {
    const Sequences s = make(model, kLengths[3], 0);
    const std::vector<float> out = attend(s, "reference", 1);
    const double tolerance = model.bf16_products ? 0x1p-5 : 0x1p-24 * (4 * model.head_dim + 100);
    for (size_t span = 0; span < s.spans.size(); span++)
      for (int row = 0; row < s.spans[span].rows; row++)
        for (int head = 0; head < model.heads; head++)
          for (int d = 0; d < model.head_dim; d += 7) {
            const int64_t at = ((s.spans[span].first_row + row) * model.heads + head) * model.head_dim + d;
            CHECK(std::fabs(out[static_cast<size_t>(at)] - exact_output(s, span, row, head, d)) < tolerance);
          }
  }
}

TEST_CASE("partitions: every level and part count gives the reference's bits") {
  for (const Model& model : kModels)
    for (const auto& lengths : kLengths) {
      const Sequences s = make(model, lengths, NAN);
      const std::vector<float> expected = attend(s, "reference", 1);
      for (auto level : levels_of(model))
        for (int parts : teams_of(level, {1, 3})) {
          CAPTURE(level);
          CAPTURE(model.head_dim);
          CHECK(is_reference(model, level, attend(s, level, parts), expected));
        }
    }
}

TEST_CASE("partitions: a row does not depend on the rows computed with it") {
  constexpr int kBefore = kPartition - 12, kRows = 40;
  for (const Model& model : kModels)
    for (auto level : levels_of(model)) {
      const Sequences whole = make(model, {{kBefore, kRows}}, 0);
      const std::vector<float> expected = attend(whole, level, 1);
      std::vector<float> out;
      const int columns = model.heads * model.head_dim;
      for (int first = 0, chunk = 1; first < kRows; first += chunk, chunk = chunk * 3) {
        Sequences part = make(model, {{kBefore, kRows}}, 0);
        const int count = std::min(chunk, kRows - first);
        part.q.erase(part.q.begin(), part.q.begin() + first * columns);
        part.rows = count;
        part.spans[0].rows = count, part.spans[0].first_position = kBefore + first;
        const std::vector<float> rows = attend(part, level, 1);
        out.insert(out.end(), rows.begin(), rows.end());
      }
      CAPTURE(level);
      CHECK(same_floats(out.data(), expected.data(), expected.size()));
    }
}

TEST_CASE(
    "threads, or a GPU's blocks, that share a row's partitions have the bits of one that has all, and leave counts of "
    "zero") {
  Guarded workspace(kWorkspaceBytes);
  std::byte* const results = workspace.data() + kWorkspaceCountBytes;
  for (const Model& model : kModels)
    for (const std::vector<Length>& lengths : {std::vector<Length>{{9 * kPartition, 1}},
                                               {{kPartition, 1}, {3 * kPartition + 1, 1}, {7, 1}},
                                               {{2 * kPartition - 1, 2}},
                                               std::vector<Length>(70, {kPartition + 3, 1})}) {
      if (lengths.size() > 60 && model.heads > 3) continue;
      const Sequences s = make(model, lengths, NAN);
      for (auto level : levels_of(model)) {
        CAPTURE(level);
        CAPTURE(model.heads);
        CAPTURE(lengths.size());
        std::fill(results, workspace.data() + kWorkspaceBytes, std::byte{0});
        const std::vector<float> alone = attend(s, level, 1);
        const bool gpu = level == "cuda";
        for (int times = 0; times < 2; times++) {
          const std::vector<float> shared = attend(s, level, gpu ? 1 : 5, workspace.span());
          CHECK(same_floats(alone.data(), shared.data(), alone.size()));
        }
        CHECK(workspace.intact());
        CHECK_FALSE(any(workspace.data(), results));
        const int queries = lengths[0].now * model.heads / model.kv_heads;  // of a KV head
        const bool takes_rows = lengths[0].now == 1 || (model.bf16_products && queries <= 16);
        if (level != "reference" && model.window == 0 && lengths.size() < 10 && takes_rows && model.group == 0)
          CHECK(any(results, workspace.data() + kWorkspaceBytes));
        if (lengths.size() > 66) CHECK_FALSE(any(results, workspace.data() + kWorkspaceBytes));
      }
    }
}

}  // namespace trireme::testing
