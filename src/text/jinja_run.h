#pragma once

#include <chrono>
#include <deque>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_library.h"
#include "text/jinja_value.h"
#include "text/template_limits.h"

namespace trireme {

// One render of a template: walks the tree, owns all values, counts what it costs.
class JinjaRun {
 public:
  // Texts of the variables come out untrusted, but for the special tokens (bos_token, eos_token ...) and for the roles
  // of messages that name a well-known speaker: templates write both between the signs of a special token.
  JinjaRun(const nlohmann::ordered_json& variables, const TemplateLimits& limits);

  MarkedText run(const JinjaStatement::Body& body);

  // For the library. Everything below throws JinjaFault for the template's faults, Error(bad_data) for passed limits.
  JinjaHeap& heap() { return heap_; }
  void spend(size_t steps);
  JinjaValue text(MarkedText text);  // a new value, paid for by its size
  std::vector<JinjaValue> iterate(const JinjaValue& value);
  JinjaValue get_attribute(const JinjaValue& object, std::string_view name);
  JinjaValue get_item(const JinjaValue& object, const JinjaValue& index);
  bool contains(const JinjaValue& container, const JinjaValue& value);
  JinjaValue apply(const JinjaBuiltin& builtin, std::string_view name, JinjaArguments arguments);
  const JinjaValue* find_variable(std::string_view name) const;  // of those passed in or set at the top

 private:
  // Names set in a loop body, macro or block vanish with it.
  struct Scope {
    Scope* parent = nullptr;
    std::vector<std::pair<std::string_view, JinjaValue>> variables = {};
    const JinjaValue* find(std::string_view name) const;
    void set(std::string_view name, JinjaValue value);
  };
  enum class Flow { next, break_, continue_ };

  JinjaValue evaluate(const JinjaExpression& expression);
  JinjaValue evaluate_kind(const JinjaExpression& expression);
  JinjaValue variable(std::string_view name);
  JinjaValue dict_literal(const JinjaExpression& expression);
  JinjaValue comparison(const JinjaExpression& expression);
  bool compare(std::string_view symbol, const JinjaValue& left, const JinjaValue& right);
  JinjaValue slice(const JinjaExpression& expression);
  JinjaValue concat(const JinjaExpression& expression);
  JinjaValue call(const JinjaExpression& expression);
  JinjaValue make_macro(const JinjaStatement& statement);
  JinjaValue call_macro(const JinjaFunction& function, JinjaArguments& arguments);
  JinjaValue filter(const JinjaExpression& expression, const JinjaValue* block = nullptr);
  JinjaValue test(const JinjaExpression& expression);
  JinjaArguments arguments(const JinjaExpression& expression);
  std::vector<JinjaValue> evaluate_all(const JinjaExpression& expression, size_t first);

  Flow execute(const JinjaStatement::Body& body);
  Flow execute(const JinjaStatement& statement);
  Flow execute_if(const JinjaStatement& statement);
  Flow execute_for(const JinjaStatement& statement);
  void execute_set(const JinjaStatement& statement);
  Flow execute_scope(const JinjaStatement& statement);
  MarkedText render_block(const JinjaStatement::Body& body);
  JinjaValue filter_chain(const JinjaExpression* chain, JinjaValue value);
  void bind(Scope& scope, const std::vector<std::string>& names, const JinjaValue& value);
  void print(const MarkedText& text);

  const TemplateLimits limits_;
  JinjaHeap heap_;
  std::deque<JinjaValue> root_names_;  // texts that the names in root_ point into
  Scope root_;
  Scope* scope_ = &root_;
  MarkedText* output_ = nullptr;
  int depth_ = 0;
  size_t steps_ = 0;
  std::chrono::nanoseconds deadline_;  // CPU time of the thread that made it, which alone uses it
};

// Python's + - * / // % ** and unary minus. Throws JinjaFault.
JinjaValue jinja_binary(JinjaRun& run, std::string_view symbol, const JinjaValue& left, const JinjaValue& right);
JinjaValue jinja_negative(const JinjaValue& value);

}  // namespace trireme
