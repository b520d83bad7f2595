#pragma once

namespace trireme {

// Whether select_kernels() knows "cuda by warpgroups": take_warpgroups()'s.
bool has_warpgroups();

}  // namespace trireme
