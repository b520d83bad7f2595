// What src/comm/nccl.h says of NCCL, beside the library's header. Compiled where that is; nothing runs.
#include <nccl.h>

#include <cstddef>

#include "comm/nccl.h"
#include "tests/device/same_call.h"

using trireme::Nccl;
using trireme::testing::SameCall;

// Newer configurations begin as ours, which says how long it is.
static_assert(sizeof(Nccl::Id) == sizeof(ncclUniqueId) && sizeof(Nccl::Config) <= sizeof(ncclConfig_t));
static_assert(offsetof(Nccl::Config, size) == offsetof(ncclConfig_t, size) &&
              offsetof(Nccl::Config, magic) == offsetof(ncclConfig_t, magic) &&
              offsetof(Nccl::Config, version) == offsetof(ncclConfig_t, version) &&
              offsetof(Nccl::Config, blocking) == offsetof(ncclConfig_t, blocking));
constexpr ncclConfig_t kTheirs = NCCL_CONFIG_INITIALIZER;
static_assert(Nccl::Config{}.magic == kTheirs.magic && Nccl::Config{}.version == NCCL_VERSION(2, 14, 0));
static_assert(Nccl::kSuccess == ncclSuccess && Nccl::kInProgress == ncclInProgress && Nccl::kBytes == ncclUint8 &&
              Nccl::kFloats == ncclFloat32 && Nccl::kSum == ncclSum);

static_assert(SameCall<decltype(Nccl::get_unique_id), decltype(ncclGetUniqueId)>::value);
static_assert(SameCall<decltype(Nccl::init_rank), decltype(ncclCommInitRankConfig)>::value);
static_assert(SameCall<decltype(Nccl::finalize), decltype(ncclCommFinalize)>::value);
static_assert(SameCall<decltype(Nccl::destroy), decltype(ncclCommDestroy)>::value);
static_assert(SameCall<decltype(Nccl::abort), decltype(ncclCommAbort)>::value);
static_assert(SameCall<decltype(Nccl::async_error), decltype(ncclCommGetAsyncError)>::value);
static_assert(SameCall<decltype(Nccl::group_start), decltype(ncclGroupStart)>::value);
static_assert(SameCall<decltype(Nccl::group_end), decltype(ncclGroupEnd)>::value);
static_assert(SameCall<decltype(Nccl::send), decltype(ncclSend)>::value);
static_assert(SameCall<decltype(Nccl::receive), decltype(ncclRecv)>::value);
static_assert(SameCall<decltype(Nccl::all_reduce), decltype(ncclAllReduce)>::value);
