#include "base/held_memory.h"

#include <doctest/doctest.h>

#include <cstring>

#include "base/buffer.h"

using namespace trireme;

TEST_CASE("a buffer is held from its making to its end, and resident where somebody has touched it") {
  constexpr size_t kBytes = 64 << 20, kTouched = 8 << 20;
  const HeldMemory before = held_memory();
  {
    Buffer buffer(kBytes, "a test");
    CHECK(held_memory().host - before.host == kBytes);
    CHECK(held_memory().host_resident - before.host_resident == 0);
    std::memset(buffer.data(), 1, kTouched);
    const int64_t resident = held_memory().host_resident - before.host_resident;
    CHECK(resident >= kTouched);
    CHECK(resident <= kTouched + (2 << 20));  // a huge page more
    const Buffer moved = std::move(buffer);
    CHECK(held_memory().host - before.host == kBytes);
  }
  CHECK(held_memory().host == before.host);
  CHECK(held_memory().host_resident == before.host_resident);
}

TEST_CASE("what is touched counts as this process's memory, and beside the buffers it does not") {
  const auto beside = [] { return private_resident_bytes() - held_memory().host_resident; };
  constexpr size_t kBytes = 64 << 20;
  const int64_t resident = private_resident_bytes(), rest = beside();
  REQUIRE(resident > 0);
  Buffer buffer(kBytes, "a test");
  std::memset(buffer.data(), 1, kBytes);
  CHECK(private_resident_bytes() - resident >= static_cast<int64_t>(kBytes));
  CHECK(beside() - rest < (8 << 20));
}
