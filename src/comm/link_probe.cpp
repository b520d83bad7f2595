#include "comm/link_probe.h"

#include <algorithm>
#include <limits>
#include <random>

#include "base/error.h"
#include "device/pinned_vector.h"

namespace trireme {

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kSmallBytes = 64;                // a row of activations is not much more
constexpr size_t kDeviceBytes = size_t{8} << 20;  // so that a copy outlasts its launch on the fastest link
constexpr int kSlots = 2;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Seconds of the fastest sample. goes_on: asked before each, with whether one more is wanted.
template <typename GoesOn, typename Work>
double fastest(const ProbeEffort& effort, const GoesOn& goes_on, const Work& work) {
  work();
  double best = std::numeric_limits<double>::infinity();
  const auto start = Clock::now();
  for (int i = 0; goes_on(i == 0 || (i < effort.samples && Clock::now() - start < effort.budget)); i++) {
    const auto begin = Clock::now();
    work();
    best = std::min(best, seconds_since(begin));
  }
  return best;
}

double gbps_of(size_t bytes, int messages, double seconds) {
  return static_cast<double>(bytes) * messages / seconds / 1e9;
}

template <typename T>
std::span<std::byte> bytes_of(T& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

// What the lower rank says of its device's memory; the token stands at the end of it.
struct Offer {
  Device::Handle handle{};
  uint64_t token = 0;
  bool shared = false;
};
// What the other found.
struct Finding {
  LinkFigures figures;
  bool reached = false;
};

// The memory that `offer` is of; none where the device has none to share.
Buffer share_memory(Device& device, Offer& offer) {
  try {
    Buffer memory = device.allocate(kDeviceBytes, "a probe of links");
    PinnedVector<uint64_t> token(device, 1, "a token");
    std::random_device random;
    token.push_back(uint64_t{random()} << 32 | random());
    device.copy(memory.data() + kDeviceBytes - sizeof offer.token, token.data(), sizeof offer.token);
    device.synchronize();
    offer = {device.share(memory), token[0], true};
    return memory;
  } catch (const Error&) {
    return {};
  }
}

Finding read_memory(Device& device, const Offer& offer, const ProbeEffort& effort) {
  try {
    const std::optional<Buffer> theirs = device.open(offer.handle, kDeviceBytes);
    if (!theirs) return {};
    Buffer mine = device.allocate(kDeviceBytes, "a probe of links");
    PinnedVector<uint64_t> token(device, 1, "a token");
    token.push_back(0);
    device.copy(token.data(), theirs->data() + kDeviceBytes - sizeof offer.token, sizeof offer.token);
    device.synchronize();
    if (token[0] != offer.token) return {};

    const auto alone = [](bool goes_on) { return goes_on; };
    const double small = fastest(effort, alone, [&] {
      for (int i = 0; i < effort.round_trips; i++) {
        device.copy(mine.data(), theirs->data(), kSmallBytes);
        device.synchronize();
      }
    });
    const double large = fastest(effort, alone, [&] {
      for (int i = 0; i < effort.messages; i++) device.copy(mine.data(), theirs->data(), kDeviceBytes);
      device.synchronize();
    });
    return {{small / effort.round_trips * 1e6, gbps_of(kDeviceBytes, effort.messages, large)}, true};
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

// A sender does not wait for its peer, so that both ends make it first.
LinkProbe::LinkProbe(Fabric& fabric, int me, int peer, const ProbeEffort& effort)
    : first_(me < peer), effort_(effort), data_(effort.bytes) {
  must(effort.bytes >= std::max({kSmallBytes, sizeof(Offer), sizeof(Finding)}), "a large message holds any other");
  sender_ = fabric.sender(peer, effort.bytes, kSlots);
  receiver_ = fabric.receiver(peer, effort.bytes, kSlots);
}

// The lower rank decides.
bool LinkProbe::agreed(bool goes_on) {
  if (first_)
    sender_->send(bytes_of(goes_on));
  else
    receiver_->receive(bytes_of(goes_on));
  return goes_on;
}

void LinkProbe::ping_pong() {
  const std::span<std::byte> small(data_.data(), kSmallBytes);
  for (int i = 0; i < effort_.round_trips; i++) {
    if (first_) sender_->send(small);
    receiver_->receive(small);
    if (!first_) sender_->send(small);
  }
}

// The answer to the last message ends the time.
void LinkProbe::stream() {
  for (int i = 0; i < effort_.messages; i++)
    if (first_)
      sender_->send(data_);
    else
      receiver_->receive(data_);
  const std::span<std::byte> small(data_.data(), kSmallBytes);
  if (first_)
    receiver_->receive(small);
  else
    sender_->send(small);
}

LinkFigures LinkProbe::through_host() {
  const auto goes_on = [this](bool wanted) { return agreed(wanted); };
  const double small = fastest(effort_, goes_on, [this] { ping_pong(); });
  const double large = fastest(effort_, goes_on, [this] { stream(); });
  return {small / effort_.round_trips / 2 * 1e6, gbps_of(effort_.bytes, effort_.messages, large)};
}

std::optional<LinkFigures> LinkProbe::through_devices(Device& device) {
  Offer offer;
  Finding finding;
  if (first_) {
    const Buffer memory = share_memory(device, offer);  // stays until the other has closed it
    sender_->send(bytes_of(offer));
    receiver_->receive(bytes_of(finding));
  } else {
    receiver_->receive(bytes_of(offer));
    if (offer.shared) finding = read_memory(device, offer, effort_);
    sender_->send(bytes_of(finding));
  }
  return finding.reached ? std::optional(finding.figures) : std::nullopt;
}

}  // namespace trireme
