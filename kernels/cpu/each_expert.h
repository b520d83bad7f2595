#pragma once

#include "kernels/kernels.h"
#include "kernels/packed_layout.h"

namespace trireme {

// The part of a product that is rows [begin, end) by expert e.
inline MatMul product_of(const MatMul& a, int64_t e, int64_t begin, int64_t end) {
  MatMul one = a;
  one.experts = {};
  one.x.data += begin * a.x.row_bytes;
  one.x.rows = end - begin;
  one.w.data += e * a.w.to_next;
  one.y += begin * a.y_stride;
  return one;
}
inline GatedMatMul product_of(const GatedMatMul& a, int64_t e, int64_t begin, int64_t end) {
  GatedMatMul one = a;
  one.product = product_of(a.product, e, begin, end);
  one.out.rows = end - begin;
  if (one.out.data) one.out.data += begin * a.out.stride;
  if (one.encoded.data) one.encoded.data += begin * a.encoded.row_bytes;
  return one;
}
inline const MatMul& product_in(const MatMul& a) { return a; }
inline const MatMul& product_in(const GatedMatMul& a) { return a.product; }

// f(launch, a), or where a has experts f(launch, product) of each one's. No part waits for another between them; what
// does not divide evenly among the parts goes to others each time.
template <typename Product, typename F>
void each_expert(const Launch& launch, const Product& a, const F& f) {
  const ExpertRows& experts = product_in(a).experts;
  if (experts.ends.empty()) return f(launch, a);
  const int64_t outputs = panel_outputs(product_in(a).w.form);
  const int64_t panels = (product_in(a).w.n + outputs - 1) / outputs;
  Launch turn = launch;
  int64_t begin = 0;
  for (size_t e = 0; e < experts.ends.size(); e++) {
    const int64_t end = experts.ends[e];
    if (begin < end) {
      f(turn, product_of(a, static_cast<int64_t>(e), begin, end));
      turn.part = static_cast<int>((turn.part + panels) % turn.parts);
    }
    begin = end;
  }
}

}  // namespace trireme
