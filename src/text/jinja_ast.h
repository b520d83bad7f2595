#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_lexer.h"
#include "text/jinja_value.h"

namespace trireme {

struct JinjaExpression;
using JinjaExpressionPtr = std::unique_ptr<JinjaExpression>;

struct JinjaExpression {
  enum class Kind {
    constant,     // constant
    variable,     // name
    list,         // operands
    tuple,        // operands
    dict,         // operands: key, value, key, value ...
    attribute,    // operands[0].name
    item,         // operands[0][operands[1]]
    slice,        // operands[0][operands[1] : operands[2] : operands[3]], of which the last three may be null
    call,         // operands[0](operands[1...], keywords)
    filter,       // operands[0] | name(operands[1...], keywords); in a filter block operands[0] is null
    test,         // operands[0] is name(operands[1...])
    negative,     // -operands[0]
    positive,     // +operands[0]
    logical_not,  // not operands[0]
    logical_and,
    logical_or,
    conditional,  // operands[0] if operands[1] else operands[2], which may be null
    compare,      // operands[0] symbols[0] operands[1] symbols[1] operands[2] ...
    binary,       // operands[0] name operands[1]
    concat,       // operands[0] ~ operands[1] ~ ...
  };
  Kind kind;
  JinjaPlace place;
  std::string name;
  JinjaValue constant = JinjaNone{};
  std::vector<JinjaExpressionPtr> operands;
  std::vector<std::pair<std::string, JinjaExpressionPtr>> keywords;
  std::vector<std::string> symbols;
  int height = 1;  // of the tree below, bounded by the parser
};

struct JinjaStatement {
  enum class Kind {
    text,       // constant
    output,     // value
    if_,        // branches: condition (null for else), body
    for_,       // names in value if condition: branches[0]; else: branches[1], if any
    set,        // names = value, or names[0].attribute = value
    set_block,  // names[0] = branches[0] through value, a chain of filters, or null
    macro,      // names[0](names[1...]) with defaults: branches[0]
    filter,     // branches[0] through value
    scope,      // with names = values: branches[0]
    break_,
    continue_,
  };
  using Body = std::vector<JinjaStatement>;
  struct Branch {
    JinjaExpressionPtr condition;
    Body body;
  };
  Kind kind;
  JinjaPlace place;
  JinjaValue constant = JinjaNone{};
  std::vector<std::string> names;
  std::string attribute;
  JinjaExpressionPtr value;
  JinjaExpressionPtr condition;
  std::vector<JinjaExpressionPtr> defaults;  // of a macro: one per parameter, null without; of a scope: the values
  std::vector<Branch> branches;
};

}  // namespace trireme
