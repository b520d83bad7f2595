#pragma once

#include <string_view>
#include <vector>

#include "text/jinja_ast.h"

namespace trireme {

// Reads expressions from tokens, by Jinja's precedence: conditional, or, and, not, comparison, + -, ~, * / // %, **,
// unary, then calls, items, filters and tests. The statement parser goes on from where it stands.
class JinjaExpressionParser {
 public:
  explicit JinjaExpressionParser(std::vector<JinjaToken> tokens) : tokens_(std::move(tokens)) {}

  JinjaExpressionPtr parse_expression() { return parse_conditional(); }
  // a, b without parentheses is a tuple.
  JinjaExpressionPtr parse_tuple_or_expression() { return parse_tuple(&JinjaExpressionParser::parse_conditional); }
  JinjaExpressionPtr parse_tuple_without_conditional() { return parse_tuple(&JinjaExpressionParser::parse_or); }
  JinjaExpressionPtr parse_filters(JinjaExpressionPtr value);            // | a | b ...
  JinjaExpressionPtr parse_filters_after_bar(JinjaExpressionPtr value);  // a | b ...

  const JinjaToken& peek(size_t ahead = 0) const;
  JinjaToken take();
  bool skip_symbol(std::string_view symbol);  // whether it was there
  bool skip_name(std::string_view name);
  void expect_symbol(std::string_view symbol);
  std::string expect_name();
  bool is_name(std::string_view name) const { return peek().is(JinjaToken::Kind::name, name); }
  bool is_symbol(std::string_view symbol) const { return peek().is(JinjaToken::Kind::symbol, symbol); }
  [[noreturn]] void fail_here(std::string_view what) const { fail_jinja(peek().place, what); }

 private:
  using Kind = JinjaExpression::Kind;
  JinjaExpressionPtr node(Kind kind, JinjaPlace place) const;
  void add(JinjaExpression& parent, JinjaExpressionPtr child) const;
  JinjaExpressionPtr binary(Kind kind, JinjaToken symbol, JinjaExpressionPtr left, JinjaExpressionPtr right) const;

  using Parse = JinjaExpressionPtr (JinjaExpressionParser::*)();
  JinjaExpressionPtr parse_tuple(Parse parse_item);
  JinjaExpressionPtr parse_conditional();
  JinjaExpressionPtr parse_or();
  JinjaExpressionPtr parse_and();
  JinjaExpressionPtr parse_not();
  JinjaExpressionPtr parse_comparison();
  JinjaExpressionPtr parse_sum();
  JinjaExpressionPtr parse_concat();
  JinjaExpressionPtr parse_product();
  JinjaExpressionPtr parse_power();
  JinjaExpressionPtr parse_unary(bool with_filters = true);
  JinjaExpressionPtr parse_primary();
  JinjaExpressionPtr parse_parentheses();
  JinjaExpressionPtr parse_list();
  JinjaExpressionPtr parse_dict();
  JinjaExpressionPtr parse_postfix(JinjaExpressionPtr value);
  JinjaExpressionPtr parse_filters_and_tests(JinjaExpressionPtr value);
  JinjaExpressionPtr parse_dot(JinjaExpressionPtr value);
  JinjaExpressionPtr parse_brackets(JinjaExpressionPtr value);
  JinjaExpressionPtr parse_call(JinjaExpressionPtr callee);
  JinjaExpressionPtr parse_filter(JinjaExpressionPtr value);
  JinjaExpressionPtr parse_test(JinjaExpressionPtr value);
  void parse_arguments(JinjaExpression& call);

  std::vector<JinjaToken> tokens_;
  size_t position_ = 0;
  int depth_ = 0;  // of the parser's own recursion
};

}  // namespace trireme
