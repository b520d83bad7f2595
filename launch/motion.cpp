#include "launch/motion.h"

#include <algorithm>

#include "base/error.h"
#include "comm/nccl_channels.h"
#include "comm/nccl_collective.h"
#include "comm/staged_channel.h"
#include "device/nvidia_library.h"

namespace trireme {

namespace {

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
  make_group();
  const bool wanted = gpu_ && need.nccl != "off" && world_.all_max(group_wants_nccl() || next_wants_nccl()) > 0;
  if (wanted && open_nccl()) {
    const TemporaryDeadline meeting(world_.waiter(), need.deadline);
    join_by_nccl();
  }
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

bool Motion::group_wants_nccl() const {
  const bool on_device = group_->is_operation() || group_->transport() == std::string("device");
  if (members_.size() == 1 || on_device) return false;
  for (int a : members_)
    for (int b : members_)
      if (a != b && !apart(a, b)) return false;
  return true;
}

bool Motion::next_wants_nccl() const { return neighbour(1) >= 0 && apart(world_.rank(), neighbour(1)); }

void Motion::make_group() {
  group_ = fabric_.collective(members_, gpu_ ? need_.window_bytes : std::max(need_.window_bytes, need_.result_bytes));
  group_->place_windows(device_);
  group_way_ = group_->transport();
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

// way: gets the words for how bytes go from here.
std::unique_ptr<NcclCommunicator> Motion::join(std::vector<int> members, int marks, std::string& way) {
  auto joined = std::make_unique<NcclCommunicator>(*nccl_, world_, members, *gpu_, marks);
  way = fmt::format("NCCL {} ({})", nccl_->version(), joined->transport());
  const bool net = joined->transport().find("NET/") != std::string::npos;
  const bool here = std::all_of(members.begin(), members.end(), [&](int r) { return fabric_.shares_memory(r); });
  if (joined->rank() == 0 && net && (here || joined->transport().find("Socket") != std::string::npos))
    slow_.push_back(fmt::format("{} by {}", fmt::join(members, "-"), joined->transport()));
  return joined;
}

std::unique_ptr<Channel> Motion::staged(std::unique_ptr<Channel> channel) {
  if (!gpu_) return channel;
  return std::make_unique<StagedChannel>(std::move(channel), device_, need_.hop_bytes);
}

// Every rank makes its ends in the same order: the one from the stage before, then the one to the next.
void Motion::join_by_nccl() {
  const int me = world_.rank(), before = neighbour(-1), after = neighbour(1);
  const size_t slot = need_.hop_bytes;
  if (group_wants_nccl())
    group_ =
        std::make_unique<NcclCollective>(join(members_, NcclCollective::kMarks, group_way_), *gpu_, need_.window_bytes);
  std::string way;  // of the one before, which says it
  if (before >= 0 && apart(before, me))
    previous_ = std::make_unique<NcclReceiver>(join({before, me}, NcclReceiver::kSlots, way), *gpu_, slot);
  if (after >= 0 && apart(me, after))
    next_ = std::make_unique<NcclSender>(join({me, after}, NcclSender::kSlots, next_way_), *gpu_, slot);
}

void Motion::make_hops() {
  const int before = neighbour(-1), after = neighbour(1);
  const int slots = need_.layout.pp + 1;  // a stage can finish a step while the next still has its last
  if (before >= 0 && !previous_) previous_ = staged(fabric_.receiver(before, need_.hop_bytes, slots));
  if (after >= 0 && !next_) {
    next_ = staged(fabric_.sender(after, need_.hop_bytes, slots));
    next_way_ = next_->transport();
  }
}

void Motion::share_slow_paths() {
  const auto all = gather_text(world_, fmt::format("{}", fmt::join(slow_, ", ")));
  slow_.clear();
  if (world_.rank() > 0) return;
  for (const std::string& pairs : all)
    if (!pairs.empty()) slow_.push_back(pairs);
}

std::string Motion::text() const {
  return fmt::format("group by {}{}", group_way_, next_way_.empty() ? "" : ", hops by " + next_way_);
}

nlohmann::ordered_json Motion::report() const {
  if (!gpu_) return nullptr;
  nlohmann::ordered_json report = {{"group", group_way_}};
  if (!next_way_.empty()) report["next_stage"] = next_way_;
  if (nccl_) report["nccl"] = nccl_->path();
  return report;
}

void Motion::say(Log& log) const {
  if (!missing_.empty()) log.info("NCCL is not used, GPUs reach each other through the host's memory: {}", missing_);
  if (!slow_.empty())
    log.warn(
        "NCCL moves slowly between GPUs of ranks {}; where there is a faster network, NCCL_DEBUG=INFO says why it is "
        "not "
        "taken (NCCL_IB_HCA, NCCL_SOCKET_IFNAME)",
        fmt::join(slow_, ", "));
}

std::vector<std::string> nccl_files(const Options& options) {
  static const std::string kName = "libnccl.so.2";
  if (options.nccl == "off") return {};
  if (options.nccl != "auto" && !options.nccl.empty()) return {options.nccl};
  return NvidiaLibrary::candidates({&kName, 1}, "nccl", options.library_prefixes);
}

}  // namespace trireme
