#include "topology/cluster.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "testkit/error_of.h"

using namespace trireme;
using testkit::contains;
using testkit::error_of;

TEST_CASE("a machine in words") {
  const Cluster c = Cluster::parse("2 hosts x 8 h100 nvswitch, 8 ib400");
  CHECK(c.hosts == 2);
  CHECK(c.devices == 8);
  CHECK(c.device.name == "h100");
  CHECK(c.link == Link::nvswitch);
  CHECK(c.nics == 8);
  CHECK(c.network_bytes_per_s() == 8 * 50e9);
  CHECK(!c.nics_assumed);
  CHECK(c.text() == "2 hosts x 8 h100 nvswitch, 8 ib400");
}

TEST_CASE("what nobody says is what such machines have") {
  const Cluster one = Cluster::parse(" 4  l40s ");
  CHECK(one.hosts == 1);
  CHECK(one.link == Link::pcie);
  CHECK(one.nics == 0);
  const Cluster many = Cluster::parse("4 hosts x 8 a100-80gb");
  CHECK(many.text() == "4 hosts x 8 a100-80gb nvswitch, 8 ib200");
  CHECK(many.nics_assumed);
  CHECK(Cluster::parse("1 host x 2 xeon-6980p").link == Link::sockets);
  CHECK(Cluster::parse("8 hosts x 1 raspberry-pi-4").text() == "8 hosts x 1 raspberry-pi-4, 1 eth1");
}

TEST_CASE("a device in capitals is the same; bridges join the cards that they are made for") {
  CHECK(Cluster::parse("8 H100 NVSwitch, 8 IB400").text() == Cluster::parse("8 h100, 8 ib400").text());
  CHECK(Cluster::from_json({{"device", "H100"}}, "m.json").text() == Cluster::parse("1 h100").text());
  CHECK(Cluster::parse("8 h100-nvl").fast_domain() == 2);
  CHECK(Cluster::parse("8 h200-nvl").fast_domain() == 4);
  CHECK(Cluster::parse("2 h200-nvl").fast_domain() == 2);
  CHECK(Cluster::parse("8 a100-pcie-80gb nvlink-pairs").fast_domain() == 2);
}

TEST_CASE("every data sheet is whole, and its text is what parse takes") {
  for (const std::string& name : device_sheet_names()) {
    CAPTURE(name);
    const DeviceSheet sheet = find_device_sheet(name).value();
    const Cluster c = Cluster::parse("2 hosts x 4 " + sheet.name);
    CHECK(Cluster::parse(c.text()).text() == c.text());
    CHECK(sheet.memory_bytes > 1e9);
    CHECK(sheet.memory_bytes_per_s > 1e9);
    CHECK(sheet.bf16_flops > 1e10);
    CHECK(c.nics > 0);
    const bool joined = sheet.link == Link::nvswitch || sheet.link == Link::nvlink_pairs;
    CHECK((!joined || sheet.nvlink_bytes_per_s > 0));
    // Dense figures of half the bits are twice as high: one of them as sheets have it with sparsity shows.
    CHECK((sheet.fp8_flops == 0 || sheet.fp8_flops / sheet.bf16_flops == doctest::Approx(2).epsilon(0.02)));
  }
}

TEST_CASE("a device may be called what nvidia-smi calls it") {
  for (auto [words, text] : {std::pair{"8 NVIDIA H100 80GB HBM3", "1 host x 8 h100 nvswitch"},
                             {"2 hosts x 8 NVIDIA A100-SXM4-80GB, 8 ib200", "2 hosts x 8 a100-80gb nvswitch, 8 ib200"},
                             {"8 NVIDIA A100-SXM4-40GB", "1 host x 8 a100-40gb nvswitch"},
                             {"2 NVIDIA A100 80GB PCIe nvlink-pairs", "1 host x 2 a100-pcie-80gb nvlink-pairs"},
                             {"4 NVIDIA H100 PCIe", "1 host x 4 h100-pcie pcie"},
                             {"4 NVIDIA GeForce RTX 4090", "1 host x 4 rtx-4090 pcie"}})
    CHECK(Cluster::parse(words).text() == text);
  CHECK(Cluster::from_json({{"devices", 8}, {"device", "NVIDIA H200"}}, "m.json").text() == "1 host x 8 h200 nvswitch");
  CHECK(contains(error_of([] { Cluster::parse("4 NVIDIA Tesla V100"); }),
                 "column 3: there stands 'nvidia'; expected a device"));
  CHECK(contains(error_of([] { Cluster::parse("8 x h100"); }), "column 3: there stands 'x'"));
}

TEST_CASE("a part of a device has that part of all rates, not of its links") {
  DeviceSheet half = find_device_sheet("b200").value();
  const DeviceSheet sheet = half;
  half.scale_rates(0.5);
  for (double DeviceSheet::*rate : {&DeviceSheet::memory_bytes_per_s, &DeviceSheet::bf16_flops, &DeviceSheet::fp8_flops,
                                    &DeviceSheet::int8_ops, &DeviceSheet::fp4_flops})
    CHECK(half.*rate == sheet.*rate / 2);
  CHECK(half.nvlink_bytes_per_s == sheet.nvlink_bytes_per_s);
  CHECK(half.pcie_bytes_per_s == sheet.pcie_bytes_per_s);
}

TEST_CASE("fast domains") {
  CHECK(Cluster::parse("2 hosts x 8 h100").fast_domain() == 8);
  CHECK(Cluster::parse("8 a100-80gb nvlink-pairs").fast_domain() == 2);
  CHECK(Cluster::parse("8 h100 pcie").fast_domain() == 1);
  CHECK(Cluster::parse("18 hosts x 4 gb200").fast_domain() == 72);
  CHECK(Cluster::parse("2 hosts x 4 gb200").fast_domain() == 8);
}

TEST_CASE("errors name the column, what stands there and what may") {
  CHECK(contains(
      error_of([] { Cluster::parse("2 hosts x 8 h10 nvswitch"); }),
      "64: machine '2 hosts x 8 h10 nvswitch', column 13: there stands 'h10'; expected a device (did you mean h100?)"));
  CHECK(
      contains(error_of([] { Cluster::parse(""); }), "column 1: it ends there; expected a number of hosts or devices"));
  CHECK(contains(error_of([] { Cluster::parse("2 hosts 8 h100"); }), "column 9: there stands '8'; expected 'x'"));
  CHECK(contains(error_of([] { Cluster::parse("0 h100"); }), "column 1: there stands '0'"));
  CHECK(contains(error_of([] { Cluster::parse("99999999999 h100"); }), "column 1"));
  CHECK(contains(error_of([] { Cluster::parse("8 l40s nvswitch"); }), "l40s has no NVLink"));
  CHECK(contains(error_of([] { Cluster::parse("8 h100 fast"); }),
                 "column 8: there stands 'fast'; expected nvswitch, nvlink-pairs or pcie"));
  CHECK(
      contains(error_of([] { Cluster::parse("8 h100, 8 ib"); }), "column 11: there stands 'ib'; expected an adapter"));
  CHECK(contains(error_of([] { Cluster::parse("8 h100, 8 ib400 and"); }),
                 "column 17: there stands 'and'; expected the end"));
}

TEST_CASE("a machine of which there is no data sheet is a JSON object") {
  const nlohmann::json own = {{"name", "x1"}, {"memory_gb", 32}, {"memory_gbps", 500}, {"bf16_tflops", 100}};
  const Cluster c =
      Cluster::from_json({{"hosts", 3}, {"devices", 2}, {"device", own}, {"nic", "roce100"}, {"nics", 2}}, "m.json");
  CHECK(c.device.memory_bytes == 32e9);
  CHECK(c.link == Link::pcie);
  CHECK(c.text() == "3 hosts x 2 x1 pcie, 2 roce100");
  CHECK(Cluster::from_json({{"devices", 4}, {"device", "b200"}}, "m.json").text() == "1 host x 4 b200 nvswitch");
  CHECK(contains(error_of([] {
                   Cluster::from_json({{"devices", 4}}, "m.json");
                 }),
                 "65: m.json: field \"device\" of the machine is not there"));
  CHECK(contains(error_of([] {
                   Cluster::from_json({{"device", "h100"}, {"gpus", 8}}, "m.json");
                 }),
                 "no field \"gpus\""));
  CHECK(contains(error_of([] {
                   Cluster::from_json({{"device", {{"memory_gb", 1}}}}, "m.json");
                 }),
                 "\"memory_gbps\" of the machine must be there"));
  CHECK(contains(error_of([] {
                   Cluster::from_json({{"device", "h100"}, {"hosts", 0}}, "m.json");
                 }),
                 "\"hosts\" of the machine must be a whole number"));
  for (double figure : {1e-300, 1e300})
    CHECK(contains(
        error_of([&] {
          Cluster::from_json({{"device", {{"memory_gb", 1}, {"memory_gbps", figure}, {"bf16_tflops", 1}}}}, "m.json");
        }),
        "\"memory_gbps\" of the machine must be 0 or from 0.001 to 1000000000"));
  CHECK(contains(error_of([] {
                   Cluster::from_json({{"device", "h1000"}}, "m.json");
                 }),
                 "\"device\" of the machine must be a device (did you mean h100?)"));
  CHECK(contains(error_of([] { Cluster::from_json(nlohmann::json::array(), "m.json"); }),
                 "a machine is a JSON object; it is array"));
}
