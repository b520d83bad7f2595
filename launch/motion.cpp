#include "launch/motion.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/nvidia_library.h"
#include "comm/nccl_channels.h"
#include "comm/nccl_collective.h"
#include "comm/nccl_sum.h"
#include "comm/staged_channels.h"
#include "comm/tree_reduce.h"
#include "launch/together.h"

namespace trireme {

namespace {

constexpr int kWaitsOfJoin =
    4;  // deadlines that a rank may take to join: an id, NCCL's start, a first message; and one

std::vector<std::string> gather_text(const Communicator& world, const std::string& mine) {
  std::vector<std::string> all;
  for (const auto& bytes : world.all_gather(std::as_bytes(std::span(mine))))
    all.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return all;
}

}  // namespace

Motion::Motion(Communicator& world, Fabric& fabric, Device& device, CudaDevice* gpu, const MotionNeed& need)
    : world_(world),
      fabric_(fabric),
      device_(device),
      gpu_(gpu),
      need_(need),
      here_(need.layout.at[static_cast<size_t>(world.rank())]) {
  for (int t = 0; t < need.layout.tp; t++) members_.push_back(need.layout.rank_at({t, here_.pp, here_.dp}));
  together(world_, [this] { make_group(); });
  together(world_, [this] { make_sampling_group(); });
  if (gpu_ && need.nccl != "off") use_nccl();
  make_hops();
  if (gpu_) share_slow_paths();
}

// World rank of the same place in the stage before (-1) or after (1); -1: there is none.
int Motion::neighbour(int step) const {
  const int stage = here_.pp + step;
  return stage < 0 || stage >= need_.layout.pp ? -1 : need_.layout.rank_at({here_.tp, stage, here_.dp});
}

// NCCL refuses ranks that share a chip.
bool Motion::apart(int rank, int other) const {
  return need_.chips[static_cast<size_t>(rank)] != need_.chips[static_cast<size_t>(other)];
}

bool Motion::members_apart() const {
  for (int a : members_)
    for (int b : members_)
      if (a != b && !apart(a, b)) return false;
  return members_.size() > 1;
}

// Likewise, -1 where NCCL cannot go there, too.
int Motion::nccl_neighbour(int step) const {
  const int rank = neighbour(step);
  return rank >= 0 && apart(world_.rank(), rank) ? rank : -1;
}

void Motion::make_group() {
  group_ = fabric_.collective(members_, gpu_ ? need_.window_bytes : std::max(need_.window_bytes, need_.result_bytes));
  group_->place_windows(device_);
  group_way_ = group_->transport();
}

void Motion::make_sampling_group() {
  if (!gpu_ || need_.result_bytes == 0) return;
  sampling_group_ = fabric_.collective(members_, need_.result_bytes);
  sampling_group_->pin_windows(device_);
}

// Whether every rank has it, in one version.
bool Motion::open_nccl() {
  auto nccl = std::make_unique<Nccl>(need_.files);
  const auto all = gather_text(world_, nccl->missing().empty() ? nccl->version() : "-" + nccl->missing());
  for (size_t r = 0; r < all.size() && missing_.empty(); r++) {
    if (all[r].starts_with("-"))
      missing_ = fmt::format("rank {}: {}", r, all[r].substr(1));
    else if (all[r] != all[0])
      missing_ = fmt::format("rank 0 has NCCL {}, rank {} has {}", all[0], r, all[r]);
  }
  if (!missing_.empty() && need_.nccl != "auto")
    fail(ExitCode::configuration, "--nccl {}: {}; leave it out to look elsewhere, or --nccl off", need_.nccl, missing_);
  if (!missing_.empty()) return false;
  if (need_.keep_nccl_log) nccl->keep_log();
  nccl_ = std::move(nccl);
  return true;
}

void Motion::use_nccl() {
  group_by_nccl_ = members_apart() && !group_->on_device();
  sums_by_nccl_ = members_apart() && need_.free_order;
  sums_alone_ = world_.all_max(group_by_nccl_ || nccl_neighbour(1) >= 0) == 0;
  Links links;
  if ((!sums_alone_ || world_.all_max(sums_by_nccl_) > 0) && open_nccl() && join_all(links)) take(std::move(links));
}

// Whether every rank has all of its own. In each of three rounds a rank makes one at most.
bool Motion::join_all(Links& links) {
  const int me = world_.rank(), before = nccl_neighbour(-1), after = nccl_neighbour(1);
  const auto to_previous = [&] {
    if (before >= 0) links.previous = join({before, me}, NcclReceiver::kSlots);
  };
  const auto to_next = [&] {
    if (after >= 0) links.next = join({me, after}, NcclSender::kSlots);
  };
  const bool odd = here_.pp % 2 == 1;
  return join_together(links,
                       [&] {
                         if (group_by_nccl_ || sums_by_nccl_)
                           links.group = join(members_, NcclCollective::kMarks + NcclSum::kMarks);
                       }) &&
         join_together(links, [&] { odd ? to_previous() : to_next(); }) &&
         join_together(links, [&] { odd ? to_next() : to_previous(); });
}

// All ranks go on when all are here. Where one has failed, all throw, or give up what they have; where one does not
// come to say how it fared, nobody can go on.
bool Motion::join_together(Links& links, const std::function<void()>& join) {
  Fault fault;
  try {
    const TemporaryDeadline meeting(world_.waiter(), need_.deadline);
    join();
  } catch (...) {
    fault = Fault::current();
  }
  const Communicator::FirstFault first = first_of(std::move(fault));
  if (first.text.empty()) return true;
  try {
    throw Error(static_cast<ExitCode>(first.exit_code), first.text);
  } catch (const Error& error) {
    const bool nccls = error.code() == ExitCode::configuration || error.code() == ExitCode::stuck;
    if (need_.nccl != "auto" || !nccls) throw;
    missing_ = error.what();
    links = {};  // while an exception is handled: they are aborted, for some ranks of theirs may never come
    slow_.clear();
    nccl_.reset();
    return false;
  }
}

// What NCCL said to one rank explains why others waited in vain.
Communicator::FirstFault Motion::first_of(Fault fault) const {
  const TemporaryDeadline others(world_.waiter(), kWaitsOfJoin * need_.deadline);
  const bool explains = fault.code == ExitCode::configuration || fault.code == ExitCode::out_of_memory;
  const bool explained = world_.all_max(explains) > 0;
  if (explained && fault.code == ExitCode::stuck) fault = {};
  return world_.first_fault(fault.text, static_cast<int>(fault.code));
}

std::unique_ptr<NcclCommunicator> Motion::join(std::vector<int> members, int marks) {
  auto joined = std::make_unique<NcclCommunicator>(*nccl_, world_, members, *gpu_, marks);
  if (const std::string by = detour(*joined, members); joined->rank() == 0 && !by.empty())
    slow_.push_back(fmt::format("{} by {}", fmt::join(members, "-"), by));
  return joined;
}

// The way that it takes where there is a shorter one, or ought to be; "": it is the shortest.
std::string Motion::detour(const NcclCommunicator& link, const std::vector<int>& members) const {
  const auto takes = [&](const char* way) { return link.transport().find(way) != std::string::npos; };
  const auto among = [&](int r) { return std::ranges::find(members, r) != members.end(); };
  const bool here = std::ranges::all_of(members, [&](int r) { return fabric_.shares_memory(r); });
  const bool open = std::ranges::any_of(
      need_.links, [&](const MeasuredLink& l) { return l.transport == kPeerCopies && among(l.from) && among(l.to); });
  if (takes("NET/Socket") || (here && takes("NET/"))) return link.transport();
  return open && takes("SHM") ? link.transport() + ", though they open each other's memory" : "";
}

std::string Motion::way_of(const NcclCommunicator& link) const {
  return fmt::format("NCCL {} ({})", nccl_->version(), link.transport());
}

void Motion::take(Links links) {
  if (group_by_nccl_) group_way_ = way_of(*links.group);
  if (sums_by_nccl_) sum_way_ = way_of(*links.group);
  if (sums_by_nccl_ && group_->is_operation())
    sum_way_ += fmt::format(" from {} KiB on", TreeReduce::kGroupSumBytes >> 10);
  if (links.next) next_way_ = way_of(*links.next);
  together(world_, [&] {
    if (group_by_nccl_) group_ = std::make_unique<NcclCollective>(links.group, *gpu_, need_.window_bytes);
    if (sums_by_nccl_) sum_ = std::make_unique<NcclSum>(links.group, *gpu_, NcclCollective::kMarks);
    group_->sum_by(sum_.get());
    if (links.previous) previous_ = std::make_unique<NcclReceiver>(std::move(links.previous), *gpu_, need_.hop_bytes);
    if (links.next) next_ = std::make_unique<NcclSender>(std::move(links.next), *gpu_, need_.hop_bytes);
  });
}

// A sender does not wait for its peer, so that it comes first: then a fault finds nobody waiting for another channel.
void Motion::make_hops() {
  const int before = neighbour(-1), after = neighbour(1);
  const int slots = need_.layout.pp + 1;  // a stage can finish a step while the next still has its last
  together(world_, [&] {
    const bool sends = after >= 0 && !next_, receives = before >= 0 && !previous_;
    if (sends) next_ = fabric_.sender(after, need_.hop_bytes, slots);
    if (receives) previous_ = fabric_.receiver(before, need_.hop_bytes, slots);
    if (gpu_ && sends) next_ = std::make_unique<StagedSender>(std::move(next_), device_, need_.hop_bytes);
    if (gpu_ && receives) previous_ = std::make_unique<StagedReceiver>(std::move(previous_), device_, need_.hop_bytes);
    if (sends) next_way_ = next_->transport();
  });
}

void Motion::share_slow_paths() {
  const auto all = gather_text(world_, fmt::format("{}", fmt::join(slow_, ", ")));
  slow_.clear();
  if (world_.rank() > 0) return;
  for (const std::string& pairs : all)
    if (!pairs.empty()) slow_.push_back(pairs);
}

std::string Motion::text() const {
  return fmt::format("group by {}{}{}", group_way_, sum_way_.empty() ? "" : ", sums by " + sum_way_,
                     next_way_.empty() ? "" : ", hops by " + next_way_);
}

nlohmann::ordered_json Motion::report() const {
  if (!gpu_) return nullptr;
  nlohmann::ordered_json report = {{"group", group_way_}};
  if (!sum_way_.empty()) report["sums"] = sum_way_;
  if (!next_way_.empty()) report["next_stage"] = next_way_;
  if (nccl_) report["nccl"] = nccl_->path();
  return report;
}

void Motion::say(Log& log) const {
  if (!missing_.empty())
    log.info("NCCL is not used, {}: {}",
             sums_alone_ ? "sums are added as in standard" : "GPUs reach each other through the host's memory",
             missing_);
  if (!slow_.empty())
    log.warn(
        "NCCL moves slowly between GPUs of ranks {}; where there is a faster way, NCCL_DEBUG=INFO says why it is not "
        "taken (NCCL_IB_HCA, NCCL_SOCKET_IFNAME, NCCL_P2P_LEVEL)",
        fmt::join(slow_, ", "));
}

std::vector<std::string> nccl_files(const Options& options) {
  static const std::string kName = "libnccl.so.2";
  if (options.nccl == "off") return {};
  if (options.nccl != "auto" && !options.nccl.empty()) return {options.nccl};
  return NvidiaLibrary::candidates({&kName, 1}, "nccl", options.library_prefixes);
}

}  // namespace trireme
