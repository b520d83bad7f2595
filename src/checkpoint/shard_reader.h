#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/buffer.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/input_file.h"

namespace trireme {

// Reads the requests of one rank in their order: threads fill a ring of staging memory with long sequential reads, each
// a batch at a time, and the caller's thread verifies and consumes behind them.
class ShardReader {
 public:
  ShardReader(const InputFile& file, std::vector<Checkpoint::Request> requests);
  ~ShardReader();  // stops the threads
  ShardReader(const ShardReader&) = delete;
  ShardReader& operator=(const ShardReader&) = delete;

  void consume_all();  // throws what reading, verifying or a consumer threw
  uint64_t bytes() const { return bytes_; }

 private:
  // Neighbouring requests that are read together: their parts may alternate in the file.
  struct Batch {
    size_t first = 0, count = 0;  // requests
    size_t bytes = 0;             // staging memory, every part begins at a multiple of kStagingAlignment
    size_t place = 0;             // in the ring, once begun
    bool read = false;
    std::exception_ptr failure;
  };
  struct Extent {
    uint64_t offset = 0, bytes = 0;  // in the file
    std::byte* into = nullptr;
  };

  void plan();
  void stop();
  void read_ahead(std::span<std::byte> gap);  // a thread
  bool place_next();
  void read_batch(const Batch& batch, std::span<std::byte> gap);
  std::byte* wait_for_batch(size_t index);
  void verify(const Checkpoint::Request& request, int part, std::span<const std::byte> bytes) const;
  std::vector<Extent> extents(const Batch& batch) const;

  const InputFile& file_;
  std::vector<Checkpoint::Request> requests_;  // in pieces
  std::vector<Batch> batches_;
  uint64_t bytes_ = 0;
  Buffer ring_, gaps_;  // gaps_: where bytes between extents go, a part for each thread

  std::mutex mutex_;
  std::condition_variable changed_;
  size_t begun_ = 0, consumed_ = 0;  // batches
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace trireme
