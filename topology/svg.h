#pragma once

#include <string>
#include <string_view>

namespace trireme {

struct SvgBox {
  double x = 0, y = 0, width = 0, height = 0;  // in CSS pixels
  double right() const { return x + width; }
  double bottom() const { return y + height; }
  double middle() const { return x + width / 2; }
};

// A drawing of frames, lines, boxes and texts, each kind above the one before. Texts may be anything: what XML cannot
// hold is replaced.
class Svg {
 public:
  enum class Anchor { start, middle };

  void frame(const SvgBox& at, const char* fill);
  void box(const SvgBox& at, const char* fill);
  void line(double x1, double y1, double x2, double y2);
  // From one point up to `peak` and down to another.
  void arc(double x1, double y1, double x2, double y2, double peak);
  void text(double x, double y, std::string_view words, double size, Anchor anchor = Anchor::start, bool bold = false);
  // Of that size, with `title` for readers who do not see it.
  std::string document(double width, double height, std::string_view title) const;

 private:
  std::string frames_, lines_, boxes_, texts_;
};

// How many letters of that size fit, roughly: fonts differ.
size_t letters_in(double width, double size);

}  // namespace trireme
