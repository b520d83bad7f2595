#include "job/batch_request.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "job/batch_fields.h"
#include "job/json_values.h"

namespace trireme {

namespace ondemand = simdjson::ondemand;
using ondemand::value;

namespace {

struct Envelope {
  bool has_id = false, has_method = false, has_url = false, has_body = false;
};

// The first fault counts; later fields are still read. param: the field, unless the fault names one itself.
template <typename F>
void keep_first(std::optional<RowFault>& first, std::string_view param, const F& read) {
  try {
    read();
  } catch (RowFault& fault) {
    if (first) return;
    if (fault.param.empty()) fault.param = param;
    first = std::move(fault);
  }
}

template <typename F>
void for_each_field(ondemand::object object, const F& each) {
  for (auto result : object) {
    ondemand::field field = std::move(result);
    const std::string key(std::string_view(field.unescaped_key()));
    each(key, field.value());
  }
}

void read_url(value& v, Document& document) {
  const std::string url = read_string(v, "url");
  if (url == "/v1/chat/completions")
    document.header.form = RowForm::chat;
  else if (url == "/v1/completions")
    document.header.form = RowForm::completions;
  else
    throw RowFault{"unsupported",
                   fmt::format("url is {}; /v1/chat/completions and /v1/completions are supported", url.substr(0, 80))};
}

void read_envelope(const std::string& key, value& v, Document& document, Envelope& seen) {
  if (key == "custom_id") {
    document.header.id = {false, read_string(v, key)};
    seen.has_id = true;
  } else if (key == "method") {
    seen.has_method = true;
    if (const std::string method = read_string(v, key); method != "POST")
      throw RowFault{"unsupported", fmt::format("method is {}; only POST is supported", method.substr(0, 40))};
  } else if (key == "url") {
    seen.has_url = true;
    read_url(v, document);
  } else if (key == "body") {
    seen.has_body = true;
    if (v.type() != ondemand::json_type::object) refuse_value(key, "an object", v);
  } else {
    throw RowFault{"unsupported",
                   fmt::format("\"{}\" is no field of a batch request, which has custom_id, method, url and body",
                               key.substr(0, 40))};
  }
}

void check_envelope(const Envelope& seen) {
  const std::pair<bool, const char*> parts[] = {
      {seen.has_id, "custom_id"}, {seen.has_method, "method"}, {seen.has_url, "url"}, {seen.has_body, "body"}};
  for (auto [has, name] : parts)
    if (!has) throw RowFault{"bad_field", fmt::format("the batch request has no {}", name), name};
}

void read_body(ondemand::object object, BatchBody& body, std::optional<RowFault>& fault) {
  const RowForm url = body.document.header.form;
  for_each_field(object, [&](const std::string& key, value& v) {
    keep_first(fault, key, [&] {
      const BatchField* field = find_batch_field(key, url);
      if (!field)
        throw RowFault{"unsupported",
                       fmt::format("\"{}\" is no field of the body that is supported for this url", key.substr(0, 40))};
      if (v.type() != ondemand::json_type::null) field->read(v, *field, body);
    });
  });
  keep_first(fault, "", [&] { finish_batch_body(body); });
}

}  // namespace

// Twice over the row: the body's fields depend on the url, which may follow it.
std::optional<RowFault> read_batch_request(ondemand::document& json, Document& document, bool& has_id) {
  std::optional<RowFault> fault;
  Envelope seen;
  document.header.form = RowForm::request;
  json.rewind();
  for_each_field(json.get_object(), [&](const std::string& key, value& v) {
    keep_first(fault, key, [&] { read_envelope(key, v, document, seen); });
  });
  keep_first(fault, "", [&] { check_envelope(seen); });
  has_id = seen.has_id;
  if (fault) return fault;

  BatchBody body{document, {}, {}, {}, false};
  json.rewind();
  for_each_field(json.get_object(), [&](const std::string& key, value& v) {
    if (key == "body") read_body(v.get_object(), body, fault);
  });
  return fault;
}

}  // namespace trireme
