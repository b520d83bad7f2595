#include "base/json_depth.h"

#include <doctest/doctest.h>

using namespace trireme;

TEST_CASE("the depth of a JSON text counts objects and arrays, and no brackets inside strings") {
  CHECK(json_depth("") == 0);
  CHECK(json_depth("5") == 0);
  CHECK(json_depth("[]") == 1);
  CHECK(json_depth(R"({"a": [1, {"b": []}], "c": {}})") == 4);
  CHECK(json_depth(R"(["[[[[", "\"[[", "\\", []])") == 2);
  CHECK(json_depth("[[[") == 3);
  CHECK(json_depth("\"\\") == 0);
}
