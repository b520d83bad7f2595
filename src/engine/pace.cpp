#include "engine/pace.h"

#include <algorithm>
#include <utility>

namespace trireme {

void Pace::rest() {
  last_ = Clock::now();
  prompts_.reset();
}

void Pace::begin(const StepPlan& plan) {
  Step step{.sequences = static_cast<double>(plan.items.size())};
  for (const PlanItem& item : plan.items) {
    const auto rows = static_cast<double>(item.tokens.size());
    step.rows += rows;
    step.positions += rows * (item.position + (rows + 1) / 2);
    step.prompts = step.prompts || rows > 1;
  }
  under_way_.push_back(step);
}

void Pace::end() {
  const auto now = Clock::now();
  const Step& step = under_way_.front();
  const double seconds = std::chrono::duration<double>(now - last_).count();
  const bool prompts = std::any_of(under_way_.begin(), under_way_.end(), [](const Step& s) { return s.prompts; });
  Phase& phase = prompts ? prefill_ : decode_;
  if (std::exchange(prompts_, prompts) != prompts) phase.stretches++;
  phase.seconds += seconds;
  phase.rows += step.rows;
  phase.positions += step.positions;
  for (const Step& s : under_way_) phase.in_flight += seconds * s.sequences;
  last_ = now;
  under_way_.pop_front();
}

}  // namespace trireme
