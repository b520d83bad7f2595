#include <algorithm>

#include "base/error.h"
#include "text/jinja_run.h"

// The half of JinjaRun that executes statements and macros.
namespace trireme {
namespace {

using Kind = JinjaStatement::Kind;

// Sets a variable until the end of a block.
template <typename T>
class Replaced {
 public:
  Replaced(T& variable, T value) : variable_(variable), old_(std::exchange(variable, std::move(value))) {}
  Replaced(const Replaced&) = delete;
  ~Replaced() { variable_ = std::move(old_); }

 private:
  T& variable_;
  T old_;
};

}  // namespace

MarkedText JinjaRun::run(const JinjaStatement::Body& body) { return render_block(body); }

MarkedText JinjaRun::render_block(const JinjaStatement::Body& body) {
  MarkedText text;
  const Replaced<MarkedText*> redirected(output_, &text);
  execute(body);
  return text;
}

void JinjaRun::print(const MarkedText& text) {
  spend(1 + text.text.size() / 32);
  if (output_->text.size() + text.text.size() > limits_.output_bytes)
    fault("it writes more than {} bytes", limits_.output_bytes);
  output_->append(text);
}

JinjaRun::Flow JinjaRun::execute(const JinjaStatement::Body& body) {
  for (const JinjaStatement& statement : body)
    if (const Flow flow = execute(statement); flow != Flow::next) return flow;
  return Flow::next;
}

JinjaRun::Flow JinjaRun::execute(const JinjaStatement& statement) {
  const Replaced<int> deeper(depth_, depth_ + 1);
  if (depth_ > limits_.depth)
    fail_jinja(statement.place, fmt::format("it calls itself more than {} deep", limits_.depth));
  try {
    spend(1);
    switch (statement.kind) {
      case Kind::text:
        print(*as_text(statement.constant));
        break;
      case Kind::output:
        print(to_text(evaluate(*statement.value)));
        break;
      case Kind::if_:
        return execute_if(statement);
      case Kind::for_:
        return execute_for(statement);
      case Kind::set:
        execute_set(statement);
        break;
      case Kind::set_block:
      case Kind::filter:
      case Kind::scope:
        return execute_scope(statement);
      case Kind::macro:
        scope_->set(statement.names[0], make_macro(statement));
        break;
      case Kind::break_:
        return Flow::break_;
      case Kind::continue_:
        return Flow::continue_;
    }
    return Flow::next;
  } catch (const JinjaFault& found) {
    fail_jinja(statement.place, found.text);
  }
}

JinjaRun::Flow JinjaRun::execute_if(const JinjaStatement& statement) {
  for (const JinjaStatement::Branch& branch : statement.branches)
    if (!branch.condition || is_true(evaluate(*branch.condition))) return execute(branch.body);
  return Flow::next;
}

JinjaRun::Flow JinjaRun::execute_for(const JinjaStatement& statement) {
  std::vector<JinjaValue> items = iterate(evaluate(*statement.value));
  if (statement.condition) {
    std::erase_if(items, [&](const JinjaValue& item) {
      Scope scope{scope_};
      const Replaced<Scope*> inside(scope_, &scope);
      bind(scope, statement.names, item);
      return !is_true(evaluate(*statement.condition));
    });
  }
  if (items.empty()) {
    if (statement.branches.size() == 1) return Flow::next;
    Scope scope{scope_};
    const Replaced<Scope*> inside(scope_, &scope);
    return execute(statement.branches[1].body);
  }
  JinjaLoop* loop = heap_.loop(std::move(items));
  for (; loop->index < loop->items.size(); ++loop->index) {
    spend(1);
    Scope scope{scope_};
    const Replaced<Scope*> inside(scope_, &scope);
    scope.set("loop", loop);
    bind(scope, statement.names, loop->items[loop->index]);
    if (execute(statement.branches[0].body) == Flow::break_) break;
  }
  return Flow::next;
}

void JinjaRun::bind(Scope& scope, const std::vector<std::string>& names, const JinjaValue& value) {
  if (names.size() == 1) return scope.set(names[0], value);
  const std::vector<JinjaValue> parts = iterate(value);
  if (parts.size() != names.size()) fault("{} values for {} names", parts.size(), names.size());
  for (size_t i = 0; i < names.size(); ++i) scope.set(names[i], parts[i]);
}

void JinjaRun::execute_set(const JinjaStatement& statement) {
  JinjaValue value = evaluate(*statement.value);
  if (statement.attribute.empty()) return bind(*scope_, statement.names, value);
  const JinjaValue target = variable(statement.names[0]);
  JinjaDict* const* names = as<JinjaDict*>(target);
  if (!names || !(*names)->is_namespace)
    fault("an attribute can be set on a namespace only, not on a {}", type_name(target));
  (*names)->set(make_text(statement.attribute), std::move(value));
}

// Blocks with names of their own; what they print may go somewhere else.
JinjaRun::Flow JinjaRun::execute_scope(const JinjaStatement& statement) {
  Scope scope{scope_};
  for (size_t i = 0; i < statement.defaults.size(); ++i)
    scope.set(statement.names[i], evaluate(*statement.defaults[i]));
  JinjaValue printed = JinjaNone{};
  {
    const Replaced<Scope*> inside(scope_, &scope);
    if (statement.kind == Kind::scope) return execute(statement.branches[0].body);
    printed = text(render_block(statement.branches[0].body));
    if (statement.value) printed = filter_chain(statement.value.get(), std::move(printed));
  }
  if (statement.kind == Kind::filter)
    print(to_text(printed));
  else
    scope_->set(statement.names[0], std::move(printed));
  return Flow::next;
}

JinjaValue JinjaRun::filter_chain(const JinjaExpression* chain, JinjaValue value) {
  if (const JinjaExpression* before = chain->operands[0].get()) value = filter_chain(before, std::move(value));
  return filter(*chain, &value);
}

// A macro inside a block keeps the variables that it sees there, itself among them: the block may end before it is
// called.
JinjaValue JinjaRun::make_macro(const JinjaStatement& statement) {
  JinjaFunction* function = heap_.function({&statement, nullptr, JinjaNone{}});
  if (scope_ == &root_) return function;
  function->around.emplace_back(statement.names[0], function);
  for (const Scope* scope = scope_; scope != &root_; scope = scope->parent) {
    spend(1 + scope->variables.size());
    function->around.insert(function->around.end(), scope->variables.begin(), scope->variables.end());
  }
  return function;
}

JinjaValue JinjaRun::call_macro(const JinjaFunction& function, JinjaArguments& arguments) {
  const JinjaStatement& macro = *function.macro;
  const size_t parameters = macro.names.size() - 1;
  if (arguments.positional.size() > parameters)
    fault("the macro '{}' takes {} arguments, not {}", macro.names[0], parameters, arguments.positional.size());
  Scope around{&root_, function.around};
  Scope scope{function.around.empty() ? &root_ : &around};
  const Replaced<Scope*> inside(scope_, &scope);
  for (size_t i = 0; i < arguments.positional.size(); ++i) scope.set(macro.names[i + 1], arguments.positional[i]);
  for (auto& [name, value] : arguments.named) {
    const auto known = std::find(macro.names.begin() + 1, macro.names.end(), name);
    if (known == macro.names.end()) fault("the macro '{}' has no parameter '{}'", macro.names[0], name);
    scope.set(*known, std::move(value));
  }
  for (size_t i = 0; i < parameters; ++i) {
    const std::string& name = macro.names[i + 1];
    const bool passed = std::any_of(scope.variables.begin(), scope.variables.end(),
                                    [&](const auto& entry) { return entry.first == name; });
    if (passed) continue;
    const JinjaExpression* absent = macro.defaults[i].get();
    scope.set(name, absent ? evaluate(*absent) : JinjaUndefined{std::get<JinjaText>(make_text(name))});
  }
  return text(render_block(macro.branches[0].body));
}

}  // namespace trireme
