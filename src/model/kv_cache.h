#pragma once

#include "base/buffer.h"
#include "device/device.h"
#include "kernels/kernels.h"

namespace trireme {

// The KV pages of one stage: `blocks` blocks of kBlockTokens positions in every layer. Which sequence has which block
// is the scheduler's affair (engine/block_pool.h). [blocks][layers][k, v][kv_heads]: a block's layers lie side by side,
// so that a run touches no more memory than its sequences fill; fresh memory costs more than anything a step does.
class KvCache {
 public:
  KvCache(Device& device, int layers, int kv_heads, int head_dim, DType type, int64_t blocks)
      : memory_(device.allocate(static_cast<size_t>(layers * blocks * block_bytes(kv_heads, head_dim, type)),
                                "the KV cache")),
        layers_(layers),
        kv_heads_(kv_heads),
        head_dim_(head_dim),
        type_(type),
        blocks_(blocks) {}

  // Of one block in one layer.
  static int64_t block_bytes(int kv_heads, int head_dim, DType type) {
    return int64_t{2} * kv_heads * head_dim * kBlockTokens * dtype_bytes(type);
  }

  KvPages pages(int layer) const {  // of this stage, from 0
    const int64_t bytes = block_bytes(kv_heads_, head_dim_, type_);
    std::byte* k = memory_.data() + layer * bytes;
    return {type_, k, k + bytes / 2, kv_heads_, head_dim_, int64_t{2} * layers_ * kv_heads_};
  }
  int64_t blocks() const { return blocks_; }
  size_t bytes() const { return memory_.bytes(); }
  Buffer& memory() { return memory_; }

 private:
  Buffer memory_;
  int layers_, kv_heads_, head_dim_;
  DType type_;
  int64_t blocks_;
};

}  // namespace trireme
