#pragma once

#include <map>
#include <string>

#include "checkpoint/index.h"
#include "checkpoint/writer.h"

namespace trireme::testkit {

// A small checkpoint of every kind of tensor, written by this rank alone; bytes of every part are known.
struct Sample {
  CheckpointContent content;
  std::map<std::string, std::string> parts[3];  // by tensor: all units

  Sample() {
    content.unit_formula = 1;
    content.unit_group = 32;
    content.config = {{"model_type", "test"}, {"numbers", {1, 2.5, nullptr}}};
    content.blobs = {{"tokenizer.json", "{\"a\": \"ü\"}"}, {"empty", ""}, {"chat_template.jinja", "{{ x }}\n"}};
    add("norm", {}, 1, 24, UnitAxis::none, 1, 1, 24);
    add("layers.0.attention.q", {.type = DType::bf16}, 20, 24, UnitAxis::rows, 3, 8, 24);  // the last unit is padded
    add("layers.0.mlp.down", {.type = DType::f16, .bits = 4, .group = 32, .has_minimum = true}, 6, 96,
        UnitAxis::columns, 2, 6, 64);
    add("embedding", {.type = DType::f16, .bits = 8, .group = 32, .zero = 128}, 3000, 64, UnitAxis::rows, 3, 1024, 64);
    add("head", {.type = DType::f16}, 5, 7, UnitAxis::rows, 5, 1, 7);
    add("layers.0.attention.o", {.bits = 8, .group = 6, .e4m3 = true}, 4, 15, UnitAxis::columns, 3, 4, 6);
  }

  void add(const std::string& name, WeightFormat format, int64_t rows, int64_t columns, UnitAxis axis, int units,
           int64_t unit_rows, int64_t unit_columns) {
    TensorInfo t{.name = name,
                 .format = format,
                 .rows = rows,
                 .columns = columns,
                 .axis = axis,
                 .units = units,
                 .unit_rows = unit_rows,
                 .unit_columns = unit_columns};
    for (int part = 0; part < 3; part++) {
      std::string& bytes = parts[part][name];
      bytes.resize(unit_bytes(t, part) * static_cast<size_t>(units));
      for (size_t i = 0; i < bytes.size(); i++)
        bytes[i] = static_cast<char>(i * 31 + (i >> 8) + static_cast<size_t>(part) * 7 + name.size());
    }
    content.tensors.push_back(t);
  }

  std::string piece(const TensorInfo& t, int part, UnitRange units) const {
    size_t bytes = unit_bytes(t, part);
    return parts[part].at(t.name).substr(bytes * static_cast<size_t>(units.begin),
                                         bytes * static_cast<size_t>(units.size()));
  }

  void write(const std::string& path) const {
    WriterGroup group = WriterGroup::self();
    CheckpointWriter writer(group, path, content);
    write_all(writer);
    writer.finish();
  }
  void write_all(CheckpointWriter& writer) const {
    for (size_t i = 0; i < content.tensors.size(); i++) write_units(writer, i, {0, content.tensors[i].units});
  }
  void write_units(CheckpointWriter& writer, size_t tensor, UnitRange units) const {
    std::string p[3];
    for (int part = 0; part < 3; part++) p[part] = piece(content.tensors[tensor], part, units);
    writer.write(tensor, units, std::as_bytes(std::span(p[0])), std::as_bytes(std::span(p[1])),
                 std::as_bytes(std::span(p[2])));
  }
};

inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace trireme::testkit
