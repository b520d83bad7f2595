#include "job/document.h"

#include "base/hash.h"

namespace trireme {

uint64_t DocumentId::key() const { return xxh3((integer ? "i:" : "s:") + text); }

void SamplingOverrides::apply_to(SamplingParams& params) const {
  params.max_tokens = max_tokens.value_or(params.max_tokens);
  params.temperature = temperature.value_or(params.temperature);
  params.top_p = top_p.value_or(params.top_p);
  params.top_k = top_k.value_or(params.top_k);
  params.seed = seed.value_or(params.seed);
  if (stop) params.stop = *stop;
  params.ignore_eos = ignore_eos.value_or(params.ignore_eos);
  params.logprobs = logprobs.value_or(params.logprobs);
}

}  // namespace trireme
