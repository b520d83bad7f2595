#include "topology/svg.h"

#include <fmt/core.h>

#include "base/utf8.h"

namespace trireme {

namespace {

constexpr double kLetterWidth = 0.56;  // of its size: Helvetica's mean, and DejaVu's is a little more

std::string escaped(std::string_view words) {
  std::string text;
  for (size_t i = 0; i < words.size();) {
    const size_t length = utf8_length_at(words, i);
    const char c = words[i];
    if (length == 0 || static_cast<unsigned char>(c) < 0x20)
      text += '?';
    else if (c == '&')
      text += "&amp;";
    else if (c == '<')
      text += "&lt;";
    else if (c == '>')
      text += "&gt;";
    else
      text += words.substr(i, length);
    i += length ? length : 1;
  }
  return text;
}

std::string rectangle(const SvgBox& at, const char* fill) {
  return fmt::format(R"(<rect x="{:g}" y="{:g}" width="{:g}" height="{:g}" rx="3" fill="{}" stroke="#444"/>)"
                     "\n",
                     at.x, at.y, at.width, at.height, fill);
}

}  // namespace

size_t letters_in(double width, double size) { return static_cast<size_t>(width / (size * kLetterWidth)); }

void Svg::frame(const SvgBox& at, const char* fill) { frames_ += rectangle(at, fill); }
void Svg::box(const SvgBox& at, const char* fill) { boxes_ += rectangle(at, fill); }

void Svg::line(double x1, double y1, double x2, double y2) {
  lines_ += fmt::format(R"(<path d="M{:g} {:g}L{:g} {:g}" fill="none" stroke="#555" stroke-width="1.5"/>)"
                        "\n",
                        x1, y1, x2, y2);
}

void Svg::arc(double x1, double y1, double x2, double y2, double peak) {
  // A quadratic curve reaches half the way to its control point.
  lines_ += fmt::format(R"(<path d="M{:g} {:g}Q{:g} {:g} {:g} {:g}" fill="none" stroke="#555" stroke-width="1.5"/>)"
                        "\n",
                        x1, y1, (x1 + x2) / 2, 2 * peak - (y1 + y2) / 2, x2, y2);
}

void Svg::text(double x, double y, std::string_view words, double size, Anchor anchor, bool bold) {
  texts_ += fmt::format(R"(<text x="{:g}" y="{:g}" font-size="{:g}"{}{}>{}</text>)"
                        "\n",
                        x, y, size, anchor == Anchor::middle ? R"( text-anchor="middle")" : "",
                        bold ? R"( font-weight="bold")" : "", escaped(words));
}

std::string Svg::document(double width, double height, std::string_view title) const {
  return fmt::format(
             R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0:g}" height="{1:g}" viewBox="0 0 {0:g} {1:g}" font-family="Helvetica, Arial, sans-serif" fill="#111">
<title>{2}</title>
<rect width="{0:g}" height="{1:g}" fill="white"/>
)",
             width, height, escaped(title)) +
         frames_ + lines_ + boxes_ + texts_ + "</svg>\n";
}

}  // namespace trireme
