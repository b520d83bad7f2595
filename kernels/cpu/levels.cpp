#include "kernels/cpu/levels.h"

#include "kernels/cpu/drive.h"

namespace trireme {

void fill_avx2(Kernels& kernels) { fill_from<avx2_loops>(kernels); }
void fill_avx512(Kernels& kernels) { fill_from<avx512_loops>(kernels); }

}  // namespace trireme
