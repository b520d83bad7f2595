#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace trireme {

// The ranks that write one file together; MPI must be initialized (MpiSession). Owns a duplicated communicator; moves
// only. All calls but rank() and size() are collective.
class WriterGroup {
 public:
  static WriterGroup world();
  static WriterGroup self();  // this rank alone
  ~WriterGroup();
  WriterGroup(WriterGroup&& other) noexcept;
  WriterGroup& operator=(WriterGroup&&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  // Ranks fail together: runs `work` on this rank; when it throws on any rank, all throw the lowest such rank's error.
  void agree(const std::function<void()>& work) const;
  int64_t broadcast(int64_t value) const;  // rank 0's
  int64_t sum(int64_t mine) const;
  void combine(std::span<uint64_t> words) const;  // bitwise or, in place on every rank
  void* handle() const { return comm_; }          // the MPI_Comm, for HDF5

  // To be called before MPI starts: Open MPI's own I/O writes collectively 2 to 10 times slower than ROMIO. A choice
  // the user made (OMPI_MCA_io) stays.
  static void prefer_romio();

 private:
  explicit WriterGroup(void* comm);
  void* comm_ = nullptr;
  int rank_ = 0, size_ = 1;
};

}  // namespace trireme
