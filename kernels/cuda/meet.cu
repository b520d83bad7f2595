// Ranks that wait for each other on their GPUs: no host has a part in it, so that a graph may hold it.
#include "kernels/cuda/device.cuh"

namespace trireme {

namespace cuda {

namespace {

// Of a rank's page: how often it came, and from kCame on, how often each rank told it that it came.
constexpr int kCount = 0, kCame = 32;

struct MeetingPlaces {
  uint32_t* of[kMostRanksMeet];
  int rank = 0, ranks = 0;
};

// Thread r speaks with rank r. A number is never told before its time, and may be told twice.
__global__ void meet_kernel(MeetingPlaces places) {
  wait_for_earlier();
  uint32_t* mine = places.of[places.rank];
  const int other = static_cast<int>(threadIdx.x);
  const uint32_t number = mine[kCount] + 1;
  if (other < places.ranks && other != places.rank) {
    store_release(places.of[other] + kCame + places.rank, number);
    while (static_cast<int32_t>(load_acquire(mine + kCame + other) - number) < 0) __nanosleep(20);
  }
  __syncthreads();
  if (threadIdx.x == 0) mine[kCount] = number;
}

}  // namespace

}  // namespace cuda

void enqueue_meet(const Launch& launch, const Meet& meet) {
  must(meet.places.size() <= kMostRanksMeet, "the ranks of a group fit a kernel's parameters");
  cuda::MeetingPlaces places;
  places.rank = meet.rank;
  for (uint32_t* place : meet.places) places.of[places.ranks++] = place;
  cuda::enqueue(launch, 1, kMostRanksMeet, cuda::meet_kernel, places);
}

}  // namespace trireme
