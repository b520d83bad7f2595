#include "kernels/cpu/levels.h"

#include "kernels/cpu/drive.h"

namespace trireme {

void fill_avx512(Kernels& kernels) { fill_from<avx512_loops>(kernels); }

}  // namespace trireme
