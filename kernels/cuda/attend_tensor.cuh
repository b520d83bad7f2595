#pragma once

// What a warp does with one block of 32 positions on tensor cores (Attention::bf16_products), for 16 queries or for 8.
// K and V come from the cache as they are, K [values of a head][positions], V [positions][values]; both are second
// operands, whose columns ldmatrix takes from rows. Scores stay where the products leave them, which is where the next
// products want their first operand: weights need no other lane.
//
// Lane 4 quad + member has queries quad and quad + 8; of positions and values two of each eight, 2 member and the next.
#include "kernels/cuda/attend_block.cuh"

namespace trireme::cuda {

inline constexpr int kGroupValues = 64;   // of a head, that a line has
inline constexpr int kPositionTiles = 4;  // of 8 positions

// Bytes of K or V of a block in shared memory: whole groups.
TRIREME_HD inline int tensor_tile_bytes(int head_dim) {
  return static_cast<int>(blocks_of(head_dim, kGroupValues)) * kBlockTokens * kLine;
}

// Where a piece stands: of K the n-th, four for each value of the head, and a line has two values; of V the piece-th of
// a position, and a line has a position's 64 values. Turned by the line, eight rows of a matrix lie in different banks.
__device__ inline int k_offset(int n) {
  const int line = n / kPieces;
  return line * kLine + (n % kPieces ^ line % 4) * kPiece;
}
__device__ inline int v_offset(int position, int piece) {
  return (piece / kPieces * kBlockTokens + position) * kLine + (piece % kPieces ^ position % kPieces) * kPiece;
}

// Copies a block's tiles, a thread every `threads`-th piece.
struct TileCopy {
  int thread, threads, k_pieces, pieces;         // of V: of a position
  int position, piece, positions_on, pieces_on;  // of V: where the thread begins, and its step

  __device__ TileCopy(int head_dim, int index, int count)
      : thread(index),
        threads(count),
        k_pieces(head_dim * kBlockTokens * 2 / kPiece),
        pieces(head_dim * 2 / kPiece),
        position(index / pieces),
        piece(index % pieces),
        positions_on(count / pieces),
        pieces_on(count % pieces) {}
  __device__ void copy_k(std::byte* to, const std::byte* from) const {
    to += k_offset(thread), from += thread * kPiece;  // whole warps copy: lines of a thread are turned alike
    for (int n = thread; n < k_pieces; n += threads, to += threads / kPieces * kLine, from += threads * kPiece)
      copy_once(to, from);
  }
  __device__ void copy_v(std::byte* to, const std::byte* from) const {
    for (int at = position, of_position = piece; at < kBlockTokens;) {
      copy_once(to + v_offset(at, of_position), from + (at * pieces + of_position) * kPiece);
      at += positions_on, of_position += pieces_on;
      if (of_position >= pieces) of_position -= pieces, at++;
    }
  }
};

// First operands of 16 values of a head: queries quad and quad + 8, null where there is none.
__device__ inline void take_queries(const float* first, const float* second, int value, unsigned (&x)[4]) {
  UNROLL
  for (int i = 0; i < 4; i++) {
    const float* from = i % 2 == 0 ? first : second;
    const int at = value + i / 2 * 8 + lane() % 4 * 2;
    x[i] = from ? bf16_pair(from[at], from[at + 1]) : 0;
  }
}

// scores[tile][i]: of positions 8 tile + 2 member + i % 2, query quad + i / 2 * 8. q(c, x): operands of values 16 c.
template <int kChunks, typename Q>
__device__ inline void score_tile(const std::byte* k, int head_dim, const Q& q, float (&scores)[kPositionTiles][4]) {
  const int matrix = lane() / 8, row = matrix % 2 * 8 + lane() % 8;
  UNROLL
  for (int c = 0; c < kChunks; c++) {
    if (c * 16 >= head_dim) break;
    unsigned x[4];
    q(c, x);
    UNROLL
    for (int tile = 0; tile < kPositionTiles; tile += 2) {
      unsigned columns[4];
      load_columns(k + k_offset((c * 16 + row) * kPositionTiles + tile + matrix / 2), columns);
      tensor_multiply(x, {columns[0], columns[1]}, scores[tile]);
      tensor_multiply(x, {columns[2], columns[3]}, scores[tile + 1]);
    }
  }
}

}  // namespace trireme::cuda
