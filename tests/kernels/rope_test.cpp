#include <doctest/doctest.h>

#include <string>

#include "fixture.h"

namespace trireme::testing {

namespace {

struct Heads {
  int heads, kv_heads, head_dim;
  DType type;
};
const Heads kHeads[] = {
    {9, 3, 64, DType::bf16},  {4, 4, 16, DType::f32},   {6, 1, 40, DType::bf16},  {2, 1, 256, DType::f32},
    {3, 3, 6, DType::bf16},   {4, 2, 72, DType::bf16},  {2, 2, 80, DType::f32},   {14, 2, 96, DType::bf16},
    {2, 1, 160, DType::bf16}, {4, 2, 64, DType::bf16},  {7, 1, 20, DType::f32},   {8, 1, 40, DType::bf16},
    {2, 2, 256, DType::f32},  {6, 2, 64, DType::bf16},  {2, 2, 128, DType::bf16}, {7, 1, 80, DType::bf16},
    {12, 1, 16, DType::bf16}, {17, 1, 32, DType::bf16}, {3, 1, 256, DType::bf16}, {9, 2, 64, DType::bf16}};

}  // namespace

TEST_CASE("rope turns pairs by their angle and leaves the rest of the head") {
  const float cosine[] = {1, 0}, sine[] = {0, 1};  // positions 0 and 1, one pair
  for (auto level : available_levels()) {
    std::vector<float> q = {1, 2, 3, 4, 1, 2, 3, 4}, k = q, v = {5, 6, 7, 8, 9, 10, 11, 12};
    std::vector<float> k_page(4 * kBlockTokens), v_page(4 * kBlockTokens);
    KvPages pages{
        DType::f32, reinterpret_cast<std::byte*>(k_page.data()), reinterpret_cast<std::byte*>(v_page.data()), 1, 4, 1};
    const std::vector<int32_t> positions = {0, 1};
    const std::vector<int64_t> slots = {0, 1};
    select_kernels(level).rope_append(
        {}, {{q.data(), 2, 4}, {k.data(), 2, 4}, {v.data(), 2, 4}, positions, slots, {cosine, sine, 2}, pages});
    CHECK(q == std::vector<float>{1, 2, 3, 4, -2, 1, 3, 4});
    CHECK(k_page[1] == -2);
    CHECK(k_page[kBlockTokens + 1] == 1);
    CHECK(k_page[3 * kBlockTokens] == 4);
    CHECK(v_page[4] == 9);
    CHECK(v_page[7] == 12);
  }
}

TEST_CASE("rope_append: every level and part count gives the reference's bits") {
  for (const Heads& model : kHeads)
    for (int rotary : {model.head_dim, model.head_dim / 4 * 2, 0}) {
      int64_t rows = 7, columns = model.heads * model.head_dim, kv_columns = model.kv_heads * model.head_dim;
      Source source(2);
      std::vector<float> q = source.values(static_cast<size_t>(rows * columns)),
                         k = source.extremes(static_cast<size_t>(rows * kv_columns));
      std::vector<float> v = source.extremes(k.size()),
                         cosine = source.values(static_cast<size_t>(100 * model.head_dim)),
                         sine = source.values(cosine.size());
      const std::vector<int32_t> positions = {0, 5, 31, 32, 33, 64, 99};
      const std::vector<int64_t> slots = {64, 69, 95, 0, 1, 32, 40};
      size_t bytes = static_cast<size_t>(3 * kv_columns * kBlockTokens * dtype_bytes(model.type));
      auto append = [&](std::string_view level, int parts) {
        std::vector<float> rotated = q;
        Guarded pages(2 * bytes);
        each_part(parts, [&](const Launch& launch) {
          select_kernels(level).rope_append(
              launch,
              {{rotated.data(), rows, columns},
               {k.data(), rows, kv_columns},
               {v.data(), rows, kv_columns},
               positions,
               slots,
               {rotary > 0 ? cosine.data() : nullptr, rotary > 0 ? sine.data() : nullptr, rotary},
               {model.type, pages.data(), pages.data() + bytes, model.kv_heads, model.head_dim, model.kv_heads}});
        });
        CHECK(pages.intact());
        rotated.insert(rotated.end(), pages.floats(), pages.floats() + 2 * bytes / 4);
        return rotated;
      };
      std::vector<float> expected = append("reference", 1);
      for (auto level : available_levels())
        for (int parts : teams_of(level, {1, 3})) {
          std::vector<float> seen = append(level, parts);
          CHECK(std::memcmp(seen.data(), expected.data(), seen.size() * 4) == 0);
        }
    }
}

TEST_CASE("rope with nothing to turn leaves q alone and writes k and v as they are") {
  for (auto level : available_levels()) {
    std::vector<float> q = {1, 2, 3, 4}, k = {5, 6}, v = {7, 1.00390625f};
    std::vector<BF16> k_page(2 * kBlockTokens), v_page(2 * kBlockTokens);
    KvPages pages{
        DType::bf16, reinterpret_cast<std::byte*>(k_page.data()), reinterpret_cast<std::byte*>(v_page.data()), 1, 2, 1};
    const std::vector<int32_t> angles = {1000};
    const std::vector<int64_t> slots = {3};
    select_kernels(level).rope_append(
        {}, {{q.data(), 1, 4}, {k.data(), 1, 2}, {v.data(), 1, 2}, angles, slots, {nullptr, nullptr, 0}, pages});
    CHECK(q == std::vector<float>{1, 2, 3, 4});
    CHECK(to_float(k_page[3]) == 5);
    CHECK(to_float(k_page[kBlockTokens + 3]) == 6);
    CHECK(to_float(v_page[6]) == 7);
    CHECK(to_float(v_page[7]) == 1);  // rounded
  }
}

}  // namespace trireme::testing
