#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "check_levels.h"

namespace trireme::testing {

namespace {

constexpr int32_t kPastTheEnd = 3;  // rows of x and y that are no expert's

// Matrices of several experts behind each other, and rows for each of them.
struct Experts {
  std::vector<Weights> matrices;
  std::vector<int32_t> ends;
  Guarded memory;
  PackedView w;  // the first one, in `memory`
  std::vector<float> x;
  int64_t rows;

  Experts(const Format& format, const std::vector<int32_t>& counts, int64_t n, int64_t k, uint32_t seed)
      : matrices(make(format, counts.size(), n, k, seed)), memory(counts.size() * to_next(matrices[0].view)) {
    w = matrices[0].view;
    w.data = memory.data();
    w.to_next = static_cast<int64_t>(to_next(w));
    for (size_t e = 0; e < counts.size(); e++) {
      std::copy_n(matrices[e].view.data, packed_bytes(w), w.data + static_cast<int64_t>(e) * w.to_next);
      ends.push_back((e == 0 ? 0 : ends.back()) + counts[e]);
    }
    rows = ends.back() + kPastTheEnd;
    x = Source(seed + 100).extremes(static_cast<size_t>(rows * k), format.inputs.f16);
  }
  // Rows of one expert, or all.
  Rows rows_of(size_t e) const {
    const int64_t begin = e == 0 ? 0 : ends[e - 1];
    return encode_rows(w.form, {x.begin() + begin * w.k, x.begin() + ends[e] * w.k}, ends[e] - begin, w.k);
  }
  Rows all_rows() const { return encode_rows(w.form, x, rows, w.k); }

 private:
  static std::vector<Weights> make(const Format& format, size_t count, int64_t n, int64_t k, uint32_t seed) {
    std::vector<Weights> made;
    for (size_t e = 0; e < count; e++)
      made.push_back(random_weights(format, false, n, k, seed + static_cast<uint32_t>(e)));
    return made;
  }
  static size_t to_next(const PackedView& w) { return static_cast<size_t>((packed_bytes(w) + 63) / 64 * 64 + 64); }
};

// Few rows and many; experts without any; one alone.
const std::vector<int32_t> kCounts[] = {{2, 0, 1, 5}, {0, 0, 11, 3, 0}, {40, 7, 0, 70, 1}, {4}, {0, 0}, {130, 0, 9}};
// Whatever a caller expects, the bits are the same.
constexpr int64_t kUsual[] = {1, 3, 12, 20, 50, 100};

// 70 experts, more than a warp finds at once.
std::vector<int32_t> many_counts() {
  std::vector<int32_t> counts;
  for (int e = 0; e < 70; e++) counts.push_back(e % 3 == 1 ? 0 : e % 4);
  return counts;
}

}  // namespace

TEST_CASE("a product of experts has the bits of each expert's own, at every level") {
  uint32_t seed = 300;
  for (const Format& format : kFormats)
    for (const std::vector<int32_t>& counts :
         {kCounts[0], kCounts[1], kCounts[2], kCounts[3], kCounts[4], kCounts[5], many_counts()}) {
      const bool many = counts.size() > 32;
      const int64_t n = many ? 33 : 98, k = many ? 64 : 160;
      const Experts experts(format, counts, n, k, seed += 200);
      const Contraction c = contraction(k, 32);
      for (auto level : levels_of(format)) {
        const Kernels kernels = select_kernels(level);
        CAPTURE(std::string(level) + ", " + name_of(format));
        std::vector<float> expected;
        for (size_t e = 0; e < counts.size(); e++) {
          const std::vector<float> own = product(kernels, experts.rows_of(e), experts.matrices[e], c, 1);
          expected.insert(expected.end(), own.begin(), own.end());
        }
        const Rows x = experts.all_rows();
        for (int64_t usual : kUsual)
          for (int parts : teams_of(level, {1, 3})) {
            Guarded y(static_cast<size_t>(experts.rows * n) * 4);
            each_part(parts, [&](const Launch& launch) {
              kernels.matmul(launch, {x.view, experts.w, &c, y.floats(), n, 0, {}, {experts.ends, usual}});
            });
            CAPTURE(usual);
            CAPTURE(parts);
            CHECK(y.intact());
            CHECK(same_floats(y.floats(), expected.data(), expected.size()));
          }
      }
    }
}

TEST_CASE("a gated product of experts has the bits of each expert's own, at every level") {
  uint32_t seed = 7000;
  for (const Format& format : kFormats)
    for (const std::vector<int32_t>& counts : kCounts) {
      const int64_t columns = 64, k = 96, n = 2 * columns;
      const Experts experts(format, counts, n, k, seed += 200);
      const Contraction c = contraction(k, 32);
      const ActivationForm form = kActivationForms[seed / 200 % std::size(kActivationForms)];
      const int64_t row_bytes = activation_row_bytes(form, columns);
      REQUIRE(can_gate(experts.w));
      for (auto level : levels_of(format)) {
        const Kernels kernels = select_kernels(level);
        CAPTURE(std::string(level) + ", " + name_of(format));
        // gate(x) -> what stands in `out`; y: room for sums.
        const auto operation = [&](const Rows& x, const PackedView& w, Guarded& y, Guarded& out,
                                   const ExpertRows& rows) {
          GatedMatMul gated{{x.view, w, &c, y.floats(), n, 0, {}, rows}, Activation::silu, {}};
          gated.out = {form == ActivationForm::f32 ? out.floats() : nullptr, x.view.rows, columns};
          if (form != ActivationForm::f32) gated.encoded = {form, out.data(), x.view.rows, columns, row_bytes};
          return gated;
        };
        std::vector<std::byte> expected;
        for (size_t e = 0; e < counts.size(); e++) {
          const Rows x = experts.rows_of(e);
          Guarded y(static_cast<size_t>(x.view.rows * n) * 4), out(static_cast<size_t>(x.view.rows * row_bytes));
          kernels.gated_matmul({}, operation(x, experts.matrices[e].view, y, out, {}));
          expected.insert(expected.end(), out.data(), out.data() + out.bytes());
        }
        const Rows x = experts.all_rows();
        for (int64_t usual : kUsual)
          for (int parts : teams_of(level, {1, 2})) {
            Guarded y(static_cast<size_t>(experts.rows * n) * 4), out(static_cast<size_t>(experts.rows * row_bytes));
            each_part(parts, [&](const Launch& launch) {
              kernels.gated_matmul(launch, operation(x, experts.w, y, out, {experts.ends, usual}));
            });
            CAPTURE(usual);
            CAPTURE(parts);
            CHECK(y.intact());
            CHECK(out.intact());
            CHECK(std::equal(expected.begin(), expected.end(), out.data()));
          }
      }
    }
}

}  // namespace trireme::testing
