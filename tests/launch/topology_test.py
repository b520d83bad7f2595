#!/usr/bin/env python3
"""`trireme topology` as people run it: this machine, files of machines, invented ones, pictures, NCCL's XML, measurements.

    tests/launch/topology_test.py build/trireme"""
import json
import os
import sys
import xml.etree.ElementTree as xml

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "testkit"))
from tiny_runs import Checks, Tiny

SPEC = "2 hosts x 4 h100 nvswitch, 4 ib400"


def topology(tiny, *arguments, ranks=1):
    os.environ["XDG_CACHE_HOME"] = tiny.path("cache")
    done = tiny.run(["topology", *arguments], ranks=ranks)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def check_files(checks, tiny):
    dump, picture, nccl = tiny.path("m.json"), tiny.path("m.svg"), tiny.path("m.xml")
    code, said, faults = topology(tiny, "--synthetic", SPEC, "--dump", dump, "--svg", picture, "--nccl-xml", nccl)
    checks.equal("an invented machine", code, 0)
    checks.check("hosts that are alike stand once", "host0, host1: 2 hosts, alike" in said, said + faults)
    checks.equal("what was dumped is read, and shown alike", topology(tiny, "--read", dump)[1], said)
    checks.equal("--json prints what --dump writes", json.loads(topology(tiny, "--read", dump, "--json")[1]), json.load(open(dump)))
    checks.equal("a picture is XML", xml.parse(picture).getroot().tag, "{http://www.w3.org/2000/svg}svg")
    checks.equal("NCCL's XML has the GPUs of a host", len(list(xml.parse(nccl).getroot().iter("gpu"))), 4)
    checks.check("and is read as a host", "GPU 3" in topology(tiny, "--read", nccl)[1])
    check_plan(checks, tiny, nccl)
    checks.equal("alike: 0", topology(tiny, "--synthetic", SPEC, "--compare", dump)[:2], (0, "alike\n"))
    code, said, _ = topology(tiny, "--synthetic", SPEC.replace("h100", "h200"), "--compare", dump)
    checks.check("differing: 1, and in what", code == 1 and "hosts 0-1 gpus 0-3 name: h200 and h100" in said, said)


def check_plan(checks, tiny, nccl):
    plan = lambda: tiny.run(["plan", "--shape", "llama-3.1-8b", "--machine", nccl])
    unknown = plan()
    checks.check("a plan needs GPUs' PCI numbers", unknown.returncode == 78 and b"no data sheet of GPU 0" in unknown.stderr, str(unknown))
    written = open(nccl).read()
    with open(nccl, "w") as file:
        file.write(written.replace('class="0x030200"', 'class="0x030200" device="0x2330"'))
    planned = plan().stdout.decode()
    checks.check("with them it reads what topology reads", "1 host x 4 h100 nvswitch, 4 ib400\n  85.5 GB of memory as the data sheet has it" in planned, planned)
    topology(tiny, "--synthetic", "package:2 core:4 pu:1", "--nccl-xml", nccl)
    unknown = plan()
    checks.check("and CPUs' memory, which is not in it", unknown.returncode == 78 and b"how much memory" in unknown.stderr, str(unknown))


def check_here(checks, tiny):
    here = tiny.path("here.json")
    code, said, faults = topology(tiny, "--dump", here, ranks=2)
    checks.check("the machine of two ranks", code == 0 and "rank 1 " in said, said + faults)
    checks.equal("it is like itself", topology(tiny, "--compare", here, ranks=2)[:2], (0, "alike\n"))
    checks.check("one rank is not two", "ranks: 1 and 2" in topology(tiny, "--compare", here)[1])
    checks.check("nothing is measured unasked", "measured" not in said, said)
    code, said, faults = topology(tiny, "--measure", ranks=2)
    checks.check("measured when asked", code == 0 and "memory reads" in said and "   0 to 1 " in said, said + faults)
    again = topology(tiny, "--dump", here, ranks=2)[1]
    measured = [line for line in said.splitlines() if "GB/s" in line]
    checks.equal("and shown again", [line for line in again.splitlines() if "GB/s" in line], measured)
    link = json.load(open(here))["measured_links"][0]
    checks.check("with figures that can be", link["latency_us"] > 0 and link["gbps"] > 0, str(link))
    checks.check("of these ranks alone", "measured" not in topology(tiny)[1])


def main():
    checks = Checks()
    with Tiny(os.path.dirname(os.path.abspath(sys.argv[1]))) as tiny:
        check_files(checks, tiny)
        check_here(checks, tiny)
    checks.end()


main()
