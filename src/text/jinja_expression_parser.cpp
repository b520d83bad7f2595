#include "text/jinja_expression_parser.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "text/jinja_library.h"

namespace trireme {
namespace {

constexpr int max_height = 200;  // of an expression

// Undoes one level of recursion on every way out.
struct Level {
  int& depth;
  ~Level() { --depth; }
};

}  // namespace

const JinjaToken& JinjaExpressionParser::peek(size_t ahead) const {
  return tokens_[std::min(position_ + ahead, tokens_.size() - 1)];
}

JinjaToken JinjaExpressionParser::take() {
  JinjaToken token = peek();
  if (position_ + 1 < tokens_.size()) ++position_;
  return token;
}

bool JinjaExpressionParser::skip_symbol(std::string_view symbol) {
  if (!is_symbol(symbol)) return false;
  take();
  return true;
}

bool JinjaExpressionParser::skip_name(std::string_view name) {
  if (!is_name(name)) return false;
  take();
  return true;
}

void JinjaExpressionParser::expect_symbol(std::string_view symbol) {
  if (!skip_symbol(symbol)) fail_here(fmt::format("'{}' is expected here", symbol));
}

std::string JinjaExpressionParser::expect_name() {
  if (peek().kind != JinjaToken::Kind::name) fail_here("a name is expected here");
  return take().text;
}

JinjaExpressionPtr JinjaExpressionParser::node(Kind kind, JinjaPlace place) const {
  auto made = std::make_unique<JinjaExpression>();
  made->kind = kind;
  made->place = place;
  return made;
}

void JinjaExpressionParser::add(JinjaExpression& parent, JinjaExpressionPtr child) const {
  if (child) parent.height = std::max(parent.height, child->height + 1);
  if (parent.height > max_height)
    fail_jinja(parent.place, fmt::format("an expression is more than {} deep", max_height));
  parent.operands.push_back(std::move(child));
}

JinjaExpressionPtr JinjaExpressionParser::binary(Kind kind, JinjaToken symbol, JinjaExpressionPtr left,
                                                 JinjaExpressionPtr right) const {
  auto made = node(kind, symbol.place);
  made->name = std::move(symbol.text);
  add(*made, std::move(left));
  add(*made, std::move(right));
  return made;
}

JinjaExpressionPtr JinjaExpressionParser::parse_tuple(Parse parse_item) {
  const JinjaPlace place = peek().place;
  auto first = (this->*parse_item)();
  if (!is_symbol(",")) return first;
  auto tuple = node(Kind::tuple, place);
  add(*tuple, std::move(first));
  while (skip_symbol(",")) {
    const auto kind = peek().kind;
    if (kind == JinjaToken::Kind::output_end || kind == JinjaToken::Kind::block_end || is_symbol(")")) break;
    add(*tuple, (this->*parse_item)());
  }
  return tuple;
}

JinjaExpressionPtr JinjaExpressionParser::parse_conditional() {
  if (++depth_ > max_height) fail_here(fmt::format("an expression is more than {} deep", max_height));
  const Level level{depth_};
  auto value = parse_or();
  while (is_name("if")) {
    auto choice = node(Kind::conditional, take().place);
    add(*choice, std::move(value));
    add(*choice, parse_or());
    add(*choice, skip_name("else") ? parse_conditional() : nullptr);
    value = std::move(choice);
  }
  return value;
}

JinjaExpressionPtr JinjaExpressionParser::parse_or() {
  auto left = parse_and();
  while (is_name("or")) {
    JinjaToken symbol = take();
    left = binary(Kind::logical_or, std::move(symbol), std::move(left), parse_and());
  }
  return left;
}

JinjaExpressionPtr JinjaExpressionParser::parse_and() {
  auto left = parse_not();
  while (is_name("and")) {
    JinjaToken symbol = take();
    left = binary(Kind::logical_and, std::move(symbol), std::move(left), parse_not());
  }
  return left;
}

JinjaExpressionPtr JinjaExpressionParser::parse_not() {
  if (!is_name("not")) return parse_comparison();
  if (++depth_ > max_height) fail_here(fmt::format("an expression is more than {} deep", max_height));
  const Level level{depth_};
  auto negation = node(Kind::logical_not, take().place);
  add(*negation, parse_not());
  return negation;
}

JinjaExpressionPtr JinjaExpressionParser::parse_comparison() {
  auto first = parse_sum();
  auto comparison = node(Kind::compare, peek().place);
  for (;;) {
    std::string symbol;
    if (is_name("not") && peek(1).is(JinjaToken::Kind::name, "in")) {
      take(), take();
      symbol = "not in";
    } else if (is_name("in") || is_symbol("==") || is_symbol("!=") || is_symbol("<") || is_symbol("<=") ||
               is_symbol(">") || is_symbol(">=")) {
      symbol = take().text;
    } else {
      break;
    }
    if (first) add(*comparison, std::move(first));
    comparison->symbols.push_back(std::move(symbol));
    add(*comparison, parse_sum());
  }
  return first ? std::move(first) : std::move(comparison);
}

JinjaExpressionPtr JinjaExpressionParser::parse_sum() {
  auto left = parse_concat();
  while (is_symbol("+") || is_symbol("-")) {
    JinjaToken symbol = take();
    left = binary(Kind::binary, std::move(symbol), std::move(left), parse_concat());
  }
  return left;
}

JinjaExpressionPtr JinjaExpressionParser::parse_concat() {
  auto first = parse_product();
  if (!is_symbol("~")) return first;
  auto concat = node(Kind::concat, peek().place);
  add(*concat, std::move(first));
  while (skip_symbol("~")) add(*concat, parse_product());
  return concat;
}

JinjaExpressionPtr JinjaExpressionParser::parse_product() {
  auto left = parse_power();
  while (is_symbol("*") || is_symbol("/") || is_symbol("//") || is_symbol("%")) {
    JinjaToken symbol = take();
    left = binary(Kind::binary, std::move(symbol), std::move(left), parse_power());
  }
  return left;
}

JinjaExpressionPtr JinjaExpressionParser::parse_power() {
  auto left = parse_unary();
  while (is_symbol("**")) {
    JinjaToken symbol = take();
    left = binary(Kind::binary, std::move(symbol), std::move(left), parse_unary());
  }
  return left;
}

JinjaExpressionPtr JinjaExpressionParser::parse_unary(bool with_filters) {
  if (++depth_ > max_height) fail_here(fmt::format("an expression is more than {} deep", max_height));
  const Level level{depth_};
  JinjaExpressionPtr value;
  if (is_symbol("-") || is_symbol("+")) {
    const JinjaToken sign = take();
    value = node(sign.text == "-" ? Kind::negative : Kind::positive, sign.place);
    add(*value, parse_unary(false));
  } else {
    value = parse_primary();
  }
  value = parse_postfix(std::move(value));
  return with_filters ? parse_filters_and_tests(std::move(value)) : std::move(value);
}

JinjaExpressionPtr JinjaExpressionParser::parse_primary() {
  using Token = JinjaToken::Kind;
  const JinjaToken& next = peek();
  if (is_symbol("(")) return parse_parentheses();
  if (is_symbol("[")) return parse_list();
  if (is_symbol("{")) return parse_dict();
  auto value = node(Kind::constant, next.place);
  if (next.kind == Token::name) {
    const JinjaToken word = take();
    if (word.text == "true" || word.text == "True" || word.text == "false" || word.text == "False") {
      value->constant = word.text == "true" || word.text == "True";
    } else if (word.text != "none" && word.text != "None") {
      value->kind = Kind::variable;
      value->name = word.text;
    }
  } else if (next.kind == Token::text) {
    std::string text;
    while (peek().kind == Token::text) text += take().text;
    value->constant = make_text(text);
  } else if (next.kind == Token::integer || next.kind == Token::real) {
    const auto read = [&](auto number) {
      const auto result = std::from_chars(next.text.data(), next.text.data() + next.text.size(), number);
      if (result.ec != std::errc()) fail_here("a number is out of range");
      value->constant = number;
    };
    next.kind == Token::integer ? read(int64_t{}) : read(double{});
    take();
  } else {
    fail_here("a value is expected here");
  }
  return value;
}

JinjaExpressionPtr JinjaExpressionParser::parse_parentheses() {
  const JinjaPlace place = take().place;
  if (skip_symbol(")")) return node(Kind::tuple, place);
  auto value = parse_tuple_or_expression();
  expect_symbol(")");
  return value;
}

JinjaExpressionPtr JinjaExpressionParser::parse_list() {
  auto list = node(Kind::list, take().place);
  while (!is_symbol("]")) {
    add(*list, parse_expression());
    if (!skip_symbol(",")) break;
  }
  expect_symbol("]");
  return list;
}

JinjaExpressionPtr JinjaExpressionParser::parse_dict() {
  auto dict = node(Kind::dict, take().place);
  while (!is_symbol("}")) {
    add(*dict, parse_expression());
    expect_symbol(":");
    add(*dict, parse_expression());
    if (!skip_symbol(",")) break;
  }
  expect_symbol("}");
  return dict;
}

JinjaExpressionPtr JinjaExpressionParser::parse_postfix(JinjaExpressionPtr value) {
  for (;;) {
    if (is_symbol(".")) {
      value = parse_dot(std::move(value));
    } else if (is_symbol("[")) {
      value = parse_brackets(std::move(value));
    } else if (is_symbol("(")) {
      value = parse_call(std::move(value));
    } else {
      return value;
    }
  }
}

JinjaExpressionPtr JinjaExpressionParser::parse_filters_and_tests(JinjaExpressionPtr value) {
  for (;;) {
    if (skip_symbol("|")) {
      value = parse_filter(std::move(value));
    } else if (is_name("is")) {
      value = parse_test(std::move(value));
    } else if (is_symbol("(")) {
      value = parse_call(std::move(value));
    } else {
      return value;
    }
  }
}

JinjaExpressionPtr JinjaExpressionParser::parse_filters(JinjaExpressionPtr value) {
  while (skip_symbol("|")) value = parse_filter(std::move(value));
  return value;
}

JinjaExpressionPtr JinjaExpressionParser::parse_filters_after_bar(JinjaExpressionPtr value) {
  return parse_filters(parse_filter(std::move(value)));
}

JinjaExpressionPtr JinjaExpressionParser::parse_dot(JinjaExpressionPtr value) {
  const JinjaPlace place = take().place;
  if (peek().kind == JinjaToken::Kind::integer) {
    auto item = node(Kind::item, place);
    add(*item, std::move(value));
    add(*item, parse_primary());
    return item;
  }
  auto attribute = node(Kind::attribute, place);
  add(*attribute, std::move(value));
  attribute->name = expect_name();
  return attribute;
}

JinjaExpressionPtr JinjaExpressionParser::parse_brackets(JinjaExpressionPtr value) {
  auto item = node(Kind::item, take().place);
  add(*item, std::move(value));
  JinjaExpressionPtr start = is_symbol(":") ? nullptr : parse_expression();
  const bool is_slice = is_symbol(":");
  add(*item, std::move(start));
  if (is_slice) {
    item->kind = Kind::slice;
    for (int bound = 0; bound < 2; ++bound) {
      const bool present = skip_symbol(":") && !is_symbol(":") && !is_symbol("]");
      add(*item, present ? parse_expression() : nullptr);
    }
  }
  if (is_symbol(",")) fail_here("an item with several indices is not supported");
  expect_symbol("]");
  return item;
}

void JinjaExpressionParser::parse_arguments(JinjaExpression& call) {
  expect_symbol("(");
  while (!is_symbol(")")) {
    if (is_symbol("*") || is_symbol("**")) fail_here("* and ** in arguments are not supported");
    if (peek().kind == JinjaToken::Kind::name && peek(1).is(JinjaToken::Kind::symbol, "=")) {
      std::string name = take().text;
      take();
      auto value = parse_expression();
      call.height = std::max(call.height, value->height + 1);
      call.keywords.emplace_back(std::move(name), std::move(value));
    } else {
      if (!call.keywords.empty()) fail_here("a positional argument follows a named one");
      add(call, parse_expression());
    }
    if (!skip_symbol(",")) break;
  }
  expect_symbol(")");
}

JinjaExpressionPtr JinjaExpressionParser::parse_call(JinjaExpressionPtr callee) {
  auto call = node(Kind::call, peek().place);
  add(*call, std::move(callee));
  parse_arguments(*call);
  return call;
}

JinjaExpressionPtr JinjaExpressionParser::parse_filter(JinjaExpressionPtr value) {
  auto filter = node(Kind::filter, peek().place);
  add(*filter, std::move(value));
  filter->name = expect_name();
  if (!find_jinja_filter(filter->name))
    fail_jinja(filter->place, fmt::format("the filter '{}' is not supported", filter->name));
  if (is_symbol("(")) parse_arguments(*filter);
  return filter;
}

JinjaExpressionPtr JinjaExpressionParser::parse_test(JinjaExpressionPtr value) {
  using Token = JinjaToken::Kind;
  auto test = node(Kind::test, take().place);
  const bool negated = skip_name("not");
  add(*test, std::move(value));
  test->name = expect_name();
  if (!find_jinja_test(test->name)) fail_jinja(test->place, fmt::format("the test '{}' is not supported", test->name));
  const Token next = peek().kind;
  const bool value_follows = next == Token::name || next == Token::text || next == Token::integer ||
                             next == Token::real || is_symbol("[") || is_symbol("{");
  if (is_symbol("(")) {
    parse_arguments(*test);
  } else if (value_follows && !is_name("else") && !is_name("or") && !is_name("and")) {
    if (is_name("is")) fail_here("one test cannot follow another");
    add(*test, parse_postfix(parse_primary()));
  }
  if (!negated) return test;
  auto negation = node(Kind::logical_not, test->place);
  add(*negation, std::move(test));
  return negation;
}

}  // namespace trireme
