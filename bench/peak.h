#pragma once

#include "base/buffer.h"
#include "base/thread_pool.h"

namespace trireme {

// What this machine can do at most, measured: the limit that benches set their times beside.
enum class Peak { f32, bf16, int8 };  // fused multiply-adds, VDPBF16PS, VPDPBUSD: two operations a product
double operations_per_second(ThreadPool& pool, Peak what);
double read_bytes_per_second(ThreadPool& pool, const Buffer& memory);

}  // namespace trireme
