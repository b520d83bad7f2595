#include <doctest/doctest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "checkpoint/sample.h"
#include "testkit/error_of.h"
#include "testkit/gguf_writer.h"
#include "testkit/temp_folder.h"

using namespace trireme;
using namespace trireme::testkit;
using nlohmann::json;

namespace {

struct Case {
  const char* what;
  std::function<void(json&)> damage;
};

json& part(json& index, int tensor, int which) {
  return index["tensors"][static_cast<size_t>(tensor)]["parts"][static_cast<size_t>(which)];
}

// Indices with good checksums that lie: whoever can write a file can write these. Tensors: 0 norm, 1 q (bf16), 2 down
// (q4 with minimum), 3 embedding (q8), 4 head, 5 o (fp8).
const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"no tensors", [](json& j) { j.erase("tensors"); }},
      {"tensors no array", [](json& j) { j["tensors"] = 5; }},
      {"a tensor no object", [](json& j) { j["tensors"][0] = "x"; }},
      {"no config", [](json& j) { j.erase("config"); }},
      {"config no object", [](json& j) { j["config"] = 1; }},
      {"unit formula text", [](json& j) { j["unit_formula"] = "1"; }},
      {"unit formula fraction", [](json& j) { j["unit_formula"] = 1.5; }},
      {"unit group 0", [](json& j) { j["unit_group"] = 0; }},
      {"a name twice", [](json& j) { j["tensors"][0]["name"] = "head"; }},
      {"a name with a slash", [](json& j) { j["tensors"][0]["name"] = "../norm"; }},
      {"an empty name", [](json& j) { j["tensors"][0]["name"] = ""; }},
      {"rows 0", [](json& j) { j["tensors"][1]["rows"] = 0; }},
      {"rows negative", [](json& j) { j["tensors"][1]["rows"] = -20; }},
      {"rows 2^64 - 1", [](json& j) { j["tensors"][1]["rows"] = UINT64_MAX; }},
      {"rows 2^40", [](json& j) { j["tensors"][1]["rows"] = int64_t{1} << 40; }},
      {"rows more than units hold", [](json& j) { j["tensors"][1]["rows"] = 25; }},
      {"rows so few that a unit is empty", [](json& j) { j["tensors"][1]["rows"] = 16; }},
      {"columns other than the units'", [](json& j) { j["tensors"][1]["columns"] = 23; }},
      {"units 0", [](json& j) { j["tensors"][1]["units"] = 0; }},
      {"units 2^30", [](json& j) { j["tensors"][1]["units"] = 1 << 30; }},
      {"unit rows 2^30", [](json& j) { j["tensors"][4]["unit_rows"] = 1 << 30; }},
      {"units of a tensor without axis", [](json& j) { j["tensors"][0]["units"] = 2; }},
      {"axis unknown", [](json& j) { j["tensors"][1]["axis"] = "diagonal"; }},
      {"axis a number", [](json& j) { j["tensors"][1]["axis"] = 1; }},
      {"unit columns cut a group", [](json& j) { j["tensors"][2]["unit_columns"] = 48; }},
      {"format type unknown", [](json& j) { j["tensors"][1]["format"]["type"] = "f64"; }},
      {"format type u8", [](json& j) { j["tensors"][1]["format"]["type"] = "u8"; }},
      {"3 bits", [](json& j) { j["tensors"][2]["format"]["bits"] = 3; }},
      {"group 0", [](json& j) { j["tensors"][2]["format"]["group"] = 0; }},
      {"group 17", [](json& j) { j["tensors"][2]["format"]["group"] = 17; }},
      {"zero 16 of 4 bits",
       [](json& j) { j["tensors"][2]["format"]["minimum"] = false, j["tensors"][2]["format"]["zero"] = 16; }},
      {"zero and minimum", [](json& j) { j["tensors"][2]["format"]["zero"] = 8; }},
      {"plain values in groups", [](json& j) { j["tensors"][1]["format"]["group"] = 32; }},
      {"another plain type than the bytes", [](json& j) { j["tensors"][1]["format"]["type"] = "f32"; }},
      {"minimums without a format for them", [](json& j) { j["tensors"][2]["format"]["minimum"] = false; }},
      {"fp8 of 4 bits", [](json& j) { j["tensors"][5]["format"]["bits"] = 4; }},
      {"fp8 with a zero", [](json& j) { j["tensors"][5]["format"]["zero"] = 1; }},
      {"fp8 with FP16 scales", [](json& j) { j["tensors"][5]["format"]["type"] = "f16"; }},
      {"fp8 with minimums", [](json& j) { j["tensors"][5]["format"]["minimum"] = true; }},
      {"fp8 by the half of a unit", [](json& j) { j["tensors"][5]["format"]["group"] = 3; }},
      {"fp8 by 2^31 columns", [](json& j) { j["tensors"][5]["format"]["group"] = int64_t{1} << 31; }},
      {"fp8 that says it is not", [](json& j) { j["tensors"][5]["format"]["type"] = "f32"; }},
      {"no parts", [](json& j) { j["tensors"][0].erase("parts"); }},
      {"two parts", [](json& j) { j["tensors"][0]["parts"].erase(2); }},
      {"values null", [](json& j) { part(j, 1, 0) = nullptr; }},
      {"scales of plain values", [](json& j) { part(j, 1, 1) = part(j, 2, 1); }},
      {"offset in the user block", [](json& j) { part(j, 1, 0)["offset"] = 64; }},
      {"offset past the end", [](json& j) { part(j, 1, 0)["offset"] = int64_t{1} << 40; }},
      {"offset 2^62", [](json& j) { part(j, 1, 0)["offset"] = int64_t{1} << 62; }},
      {"offset negative", [](json& j) { part(j, 1, 0)["offset"] = -4096; }},
      {"offset not aligned", [](json& j) { part(j, 3, 0)["offset"] = part(j, 3, 0)["offset"].get<int64_t>() + 1; }},
      {"offset of another tensor", [](json& j) { part(j, 0, 0)["offset"] = part(j, 4, 0)["offset"]; }},
      {"an overlap by one byte",
       [](json& j) { part(j, 0, 0)["offset"] = part(j, 4, 0)["offset"].get<int64_t>() + 69; }},
      {"unit bytes 0", [](json& j) { part(j, 1, 0)["unit_bytes"] = 0; }},
      {"unit bytes one more",
       [](json& j) { part(j, 1, 0)["unit_bytes"] = part(j, 1, 0)["unit_bytes"].get<int64_t>() + 1; }},
      {"checksums too few", [](json& j) { part(j, 1, 0)["checksums"] = "0123456789abcdef"; }},
      {"checksums no digits", [](json& j) { part(j, 1, 0)["checksums"] = std::string(48, 'g'); }},
      {"checksums with a sign", [](json& j) { part(j, 1, 0)["checksums"] = "-" + std::string(47, '1'); }},
      {"a blob outside", [](json& j) { j["blobs"][0]["offset"] = int64_t{1} << 40; }},
      {"a blob of 2^62 bytes", [](json& j) { j["blobs"][0]["bytes"] = int64_t{1} << 62; }},
      {"a blob of no bytes", [](json& j) { j["blobs"][0]["bytes"] = 0; }},
      {"a blob over weights", [](json& j) { j["blobs"][0]["offset"] = part(j, 3, 0)["offset"]; }},
      {"a blob twice", [](json& j) { j["blobs"][1]["name"] = j["blobs"][0]["name"]; }},
      {"a blob's checksum short", [](json& j) { j["blobs"][0]["checksum"] = "12"; }},
  };
  return all;
}

}  // namespace

TEST_CASE("an index that lies is refused, field by field") {
  TempFolder folder;
  Sample().write(folder / "a.h5");
  const std::string valid = read_file(folder / "a.h5");
  IndexHeader header;
  std::memcpy(&header, valid.data(), sizeof header);
  const json index = json::parse(valid.substr(sizeof header, header.index_bytes));
  auto opened = [&](const std::string& text, uint64_t file_bytes) {
    std::string file = valid;
    file.replace(0, header.user_block_bytes, user_block(text, header.user_block_bytes, file_bytes));
    write_file(folder / "b.h5", file);
    return error_of([&] { Checkpoint checkpoint(folder / "b.h5"); });
  };
  CHECK(opened(index.dump(), valid.size()) == "");
  for (const Case& c : cases()) {
    CAPTURE(c.what);
    json damaged = index;
    c.damage(damaged);
    std::string text = opened(damaged.dump(), valid.size());
    CHECK(text.starts_with("65: "));
    CHECK(contains(text, "b.h5"));
  }
  CHECK(contains(opened(index.dump(), valid.size() + 1), "file_bytes"));
  CHECK(contains(opened("{\"config\":", valid.size()), "no JSON"));
  CHECK(contains(opened("", valid.size()), "no JSON"));
  CHECK(contains(opened(std::string(1000, '['), valid.size()), "nested"));
  CHECK(contains(opened("[]", valid.size()), "no object"));
}
