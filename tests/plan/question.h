#pragma once

// What a plan is asked, for the tests of its answers.
#include <doctest/doctest.h>

#include <memory>

#include "model/shapes.h"
#include "plan/layouts.h"

namespace trireme {

struct Question {
  const char* shape;
  EngineProfile profile;
  Cluster cluster;
  ModelWork model;
  PlanRequest request;

  Question(const char* shape, Precision precision, const char* machine, const char* engine = "published")
      : shape(shape),
        profile(get_engine_profile(engine)),
        cluster(Cluster::parse(machine)),
        model(shape, get_shape(shape).config(), precision, 2, profile) {
    request.input_tokens = 1024, request.output_tokens = 256, request.context = 1280, request.position = 1152;
  }
  Plan plan() const { return plan_layouts(whole()); }
  PlanQuestion whole() const {
    return {model, cluster, profile, request, [this](Precision p) {
              return std::make_unique<ModelWork>(shape, model.config(), p, model.kv_bytes(), profile);
            }};
  }
  const LayoutPlan* find(const Plan& plan, int tp, int pp) const {
    for (const LayoutPlan& l : plan.layouts)
      if (l.tp == tp && l.pp == pp) return &l;
    return nullptr;
  }
};

}  // namespace trireme
