#include "topology/machine_svg.h"

#include <doctest/doctest.h>

#include <pugixml.hpp>

#include "testkit/error_of.h"
#include "topology/invent.h"

namespace trireme {

namespace {

using testkit::contains;

struct Picture {
  explicit Picture(const Machine& machine) : text(machine_svg(machine)) {
    REQUIRE(document.load_string(text.c_str()));
    svg = document.child("svg");
  }
  int count(const std::string& words) const {
    int found = 0;
    for (pugi::xml_node node : svg.children("text")) found += node.text().get() == words;
    return found;
  }
  std::string text;
  pugi::xml_document document;
  pugi::xml_node svg;
};

}  // namespace

TEST_CASE("a picture has every device of a host, its links, and alike hosts once") {
  const Picture picture(invent_machine("2 hosts x 8 h100 nvswitch, 8 ib400"));
  CHECK(picture.count("2 x host: host0, host1") == 1);
  CHECK(picture.count("package 1") == 1);
  CHECK(picture.count("NUMA 0") == 1);
  for (int i = 0; i < 8; i++) CHECK(picture.count("GPU " + std::to_string(i)) == 1);
  CHECK(picture.count("18 NVLinks") == 8);
  CHECK(picture.count("NVSwitch") == 1);
  CHECK(picture.count("ib400") == 16);  // in its box, and at its line
  CHECK(picture.count("beside GPU 7") == 1);
  CHECK(picture.count("network") == 1);
}

TEST_CASE("bridged pairs are lines with how many NVLinks they are; a host without adapters has no network") {
  const Picture picture(invent_machine("4 a100-80gb nvlink-pairs"));
  CHECK(picture.count("12 NVLinks") == 2);
  CHECK(picture.count("NVSwitch") == 0);
  CHECK(picture.count("network") == 0);
}

TEST_CASE("hosts that differ stand side by side") {
  Machine machine = invent_machine("2 hosts x 1 h100, 1 ib400");
  machine.hosts[1].nics.clear();
  const Picture picture(machine);
  CHECK(picture.count("host0") == 1);
  CHECK(picture.count("host1") == 1);
}

TEST_CASE("everything lies inside the picture, and boxes of one kind do not overlap") {
  for (const char* description :
       {"2 hosts x 8 h100 nvswitch, 8 ib400", "1 host x 20 l40s, 40 eth10", "package:2 numa:4 core:2 pu:2"}) {
    const Picture picture(invent_machine(description));
    const double width = picture.svg.attribute("width").as_double(),
                 height = picture.svg.attribute("height").as_double();
    std::vector<pugi::xml_node> devices;
    for (pugi::xml_node box : picture.svg.children("rect")) {
      CHECK(box.attribute("x").as_double() + box.attribute("width").as_double() <= width);
      CHECK(box.attribute("y").as_double() >= 0);
      CHECK(box.attribute("y").as_double() + box.attribute("height").as_double() <= height);
      if (box.attribute("width").as_double() == 104) devices.push_back(box);
    }
    for (size_t i = 0; i < devices.size(); i++)
      for (size_t j = 0; j < i; j++) {
        const double dx = devices[i].attribute("x").as_double() - devices[j].attribute("x").as_double(),
                     dy = devices[i].attribute("y").as_double() - devices[j].attribute("y").as_double();
        CHECK((std::abs(dx) >= 104 || std::abs(dy) >= 50));
      }
  }
}

TEST_CASE("a picture stands alone, whatever names there are") {
  Machine machine = invent_machine("1 h100, 1 ib400");
  machine.hosts[0].name = "<script>&\x01\xff\"";
  machine.hosts[0].cpu_model = "</text><a href='x'>";
  const Picture picture(machine);
  CHECK(picture.count("<script>&??\"") == 1);
  CHECK_FALSE(contains(picture.text, "<script"));
  CHECK_FALSE(contains(picture.text, "<a "));
  for (const char* outside : {"url(", "@import", "xlink", "<image", "<style"})
    CHECK_FALSE(contains(picture.text, outside));
}

}  // namespace trireme
