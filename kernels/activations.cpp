#include "kernels/kernels.h"

namespace trireme {

int64_t activation_row_bytes(ActivationForm form, int64_t columns) {
  if (form == ActivationForm::int8 || form == ActivationForm::e4m3)
    return (columns + kInputGroup - 1) / kInputGroup * static_cast<int64_t>(sizeof(Int8Group));
  int64_t bytes = columns * (form == ActivationForm::f32 ? 4 : 2);
  return (bytes + 15) / 16 * 16;
}

ActivationForm activation_form(PackedForm form) {
  switch (form) {
    case PackedForm::f32:
    case PackedForm::f16:
      return ActivationForm::f32;
    case PackedForm::f16_pairs:
      return ActivationForm::f16;
    case PackedForm::bf16:
    case PackedForm::e4m3:
    case PackedForm::bf16_rows:
      return ActivationForm::bf16;
    case PackedForm::e4m3_groups:
      return ActivationForm::e4m3;
    case PackedForm::q8:
    case PackedForm::q4:
      break;
  }
  return ActivationForm::int8;
}

}  // namespace trireme
