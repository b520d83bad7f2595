#pragma once

#include <algorithm>
#include <atomic>

#include "base/thread_pool.h"
#include "kernels/cpu/encode_run.h"
#include "kernels/cpu/levels.h"

namespace trireme {

// Attention cut into tiles of rows x the heads of one KV head; where these are few, their partitions are shared out,
// too.

static_assert(kAttendBlock == kBlockTokens && kAttendPartition == kPartitionBlocks);

// A tile, or a run of its partitions: then the last of `shares` to be done joins what all have left.
struct AttendPiece {
  AttendTile tile;  // tile.rows 0: none
  int64_t row = 0;  // its first
  int head = 0;     // likewise
  int shares = 1;
  int partitions = 0;        // of the tile
  float* results = nullptr;  // the tile's, of all its partitions
  int* done = nullptr;       // shares; zero before and after
};

// Pieces of a thread one after the other, each of which is told where the next one begins: so one waits until the next
// is known.
template <const InnerLoops& kLoops>
class PieceRun {
 public:
  explicit PieceRun(const Attention& a) : a_(a) {}
  void add(const AttendPiece& piece) {
    const AttendTile& next = piece.tile;
    const int64_t first = next.block_table[next.first_block] * next.block_bytes;
    waiting_.tile.next_k = next.k + first, waiting_.tile.next_v = next.v + first;
    finish();
    waiting_ = piece;
  }
  void finish() {
    AttendTile& tile = waiting_.tile;
    if (tile.rows == 0) return;
    kLoops.attend(tile);
    if (waiting_.shares > 1) {
      std::atomic_ref done(*waiting_.done);
      if (done.fetch_add(1) != waiting_.shares - 1) return;
      done = 0;
      tile.results = waiting_.results;
      kLoops.join_partitions(tile, waiting_.partitions);
    }
    const int64_t column = int64_t{waiting_.head} * tile.head_dim;
    for (int64_t i = waiting_.row; a_.encoded.data && i < waiting_.row + tile.rows; i++)
      encode_run<kLoops>(a_.out.row(i) + column, a_.encoded, i, column, tile.heads * tile.head_dim);
  }

 private:
  const Attention& a_;
  AttendPiece waiting_;
};

// f(tile, first row, first head) for all tiles.
template <typename F>
void each_attend_tile(const Attention& a, const F& f) {
  const int head_dim = a.pages.head_dim, heads = static_cast<int>(a.kv_head_of.size());
  const int64_t head_bytes = int64_t{head_dim} * kBlockTokens * dtype_bytes(a.pages.type);
  for (const AttentionSpan& span : a.spans)
    for (int head = 0, end; head < heads; head = end) {
      int kv_head = a.kv_head_of[static_cast<size_t>(head)];
      for (end = head; end < heads && end - head < kAttendQueries && a.kv_head_of[static_cast<size_t>(end)] == kv_head;)
        end++;
      int rows = kAttendQueries / (end - head);
      for (int row = 0; row < span.rows; row += rows) {
        int64_t first = span.first_row + row, position = span.first_position + row;
        int tile_rows = std::min(rows, span.rows - row);
        f(AttendTile{.q = a.q.row(first) + head * head_dim,
                     .out = a.out.row(first) + head * head_dim,
                     .q_stride = a.q.stride,
                     .out_stride = a.out.stride,
                     .rows = tile_rows,
                     .heads = end - head,
                     .first_position = position,
                     .block_table = span.block_table,
                     .k = a.pages.k + kv_head * head_bytes,
                     .v = a.pages.v + kv_head * head_bytes,
                     .block_bytes = a.pages.block_heads * head_bytes,
                     .partition_floats = int64_t{tile_rows} * (end - head) * ((head_dim + 15) / 16 * 16 + 2),
                     .first_block = a.window > 0 ? std::max<int64_t>(0, position + 1 - a.window) / kBlockTokens : 0,
                     .end_block = (position + tile_rows + kBlockTokens - 1) / kBlockTokens,
                     .bf16 = a.pages.type == DType::bf16,
                     .head_dim = head_dim,
                     .scale = a.scale,
                     .softcap = a.softcap,
                     .window = a.window},
          first, head);
      }
    }
}

// How many pieces a tile is cut into, for four a thread; 1 where there are tiles enough, or one thread.
inline int attend_shares(const Launch& launch, const Attention& a) {
  const int64_t wanted = 4 * launch.parts;
  if (launch.parts == 1 || launch.workspace.empty() || std::ssize(a.spans) * a.pages.kv_heads >= wanted) return 1;
  int64_t tiles = 0;
  each_attend_tile(a, [&](const AttendTile&, int64_t, int) { tiles++; });
  return tiles > kWorkspaceCounts ? 1 : static_cast<int>((wanted + tiles - 1) / std::max<int64_t>(1, tiles));
}

// Pieces are dealt out in turn: later rows see more, so runs of tiles would not balance.
template <const InnerLoops& kLoops>
void drive_attention(const Launch& launch, const Attention& a) {
  if (a.pages.head_dim > kAttendHeadDim) return reference_attention(launch, a);
  const int most_shares = attend_shares(launch, a);
  int* counts = reinterpret_cast<int*>(launch.workspace.data());
  const int64_t room = (std::ssize(launch.workspace) - kWorkspaceCountBytes) / int64_t{sizeof(float)};
  int64_t turn = 0, tiles = 0, used = 0;
  PieceRun<kLoops> pieces(a);
  each_attend_tile(a, [&](const AttendTile& tile, int64_t row, int head) {
    const int64_t first = tile.first_block / kPartitionBlocks;
    const int partitions = static_cast<int>((tile.end_block - 1) / kPartitionBlocks - first + 1);
    AttendPiece piece{tile, row, head, std::min(most_shares, partitions), partitions};
    if (used + partitions * tile.partition_floats > room) piece.shares = 1;
    if (piece.shares > 1) {
      piece.results = reinterpret_cast<float*>(counts + kWorkspaceCounts) + used;
      piece.done = counts + tiles;
      used += partitions * tile.partition_floats;
    }
    tiles++;
    for (int share = 0; share < piece.shares; share++) {
      if (turn++ % launch.parts != launch.part) continue;
      if (piece.shares > 1) {
        const Range mine = part_of(partitions, share, piece.shares);
        piece.tile.first_block = std::max(tile.first_block, (first + mine.begin) * kPartitionBlocks);
        piece.tile.end_block = std::min(tile.end_block, (first + mine.end) * kPartitionBlocks);
        piece.tile.results = piece.results + mine.begin * tile.partition_floats;
      }
      pieces.add(piece);
    }
  });
  pieces.finish();
}

}  // namespace trireme
