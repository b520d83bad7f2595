#include "plan/published_precision.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

using namespace trireme;
using nlohmann::json;

namespace {

PublishedPrecision read(const char* text) { return PublishedPrecision::of(json::parse(text)); }

}  // namespace

TEST_CASE("weights are what the method, the algorithm or the number of bits says") {
  struct Row {
    const char* text;
    Precision weights;
  };
  for (const auto& [text, weights] : {
           Row{R"({"quant_method": "fp8", "weight_block_size": [128, 128]})", Precision::fp8},
           Row{R"({"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]})", Precision::fp4},
           Row{R"({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": null})", Precision::fp8},
           Row{R"({"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16})", Precision::fp4},
           Row{R"({"quant_method": "modelopt", "quantization": {"quant_algo": "W4A16_AWQ"}})", Precision::int4},
           Row{R"({"quant_method": "modelopt", "quant_algo": "W4A8_MXFP4_FP8"})", Precision::fp4},
           Row{R"({"quant_method": "modelopt", "quant_algo": "INT8_SQ"})", Precision::int8},
           Row{R"({"quant_method": "awq", "bits": 4})", Precision::int4},
           Row{R"({"quant_method": "bitsandbytes", "load_in_8bit": true, "load_in_4bit": false})", Precision::int8},
           Row{R"({"config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}}})", Precision::fp8},
           Row{R"({"config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}}})", Precision::int4},
       }) {
    CAPTURE(text);
    CHECK(read(text).weights == weights);
  }
}

TEST_CASE("keys and values are what is said of the cache") {
  CHECK(read(R"({"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"})").kv_bytes == 1);
  CHECK(read(R"({"quantization": {"quant_algo": "fp8", "kv_cache_quant_algo": "fp8"}})").kv_bytes == 1);
  CHECK(read(R"({"quant_algo": "FP8", "kv_cache_scheme": {"num_bits": 8, "type": "float"}})").kv_bytes == 1);
  CHECK(read(R"({"quant_algo": "NVFP4", "kv_cache_quant_algo": "NVFP4"})").kv_bytes == 0.5);
  CHECK(!read(R"({"quant_algo": "FP8", "kv_cache_scheme": null, "kv_cache_quant_algo": null})").kv_bytes);
}

TEST_CASE("what a plan does not know says nothing") {
  for (const char* text : {"{}", "[]", "7", "null", R"("fp8")", R"({"quant_method": 7})", R"({"quant_method": "aqlm"})",
                           R"({"quant_algo": "MIXED_PRECISION"})", R"({"bits": "four"})", R"({"bits": 4e300})",
                           R"({"config_groups": [[]], "kv_cache_scheme": 8})", R"({"config_groups": 3})",
                           R"({"quantization": {"quant_algo": {}, "kv_cache_quant_algo": []}})"}) {
    CAPTURE(text);
    CHECK(!read(text).weights);
    CHECK(!read(text).kv_bytes);
  }
}
