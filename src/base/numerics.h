#pragma once

#include <cstdint>

namespace trireme {

// What products compute with, and in which order they add (docs/numerics.md). fast: BF16 by a library's products, where
// the device has one; elsewhere it is standard, and whoever chooses says so.
enum class Numerics : uint8_t { exact, standard, fast };

}  // namespace trireme
