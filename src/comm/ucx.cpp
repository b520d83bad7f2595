#include "comm/ucx.h"

#include <ucp/api/ucp.h>

#include <chrono>
#include <exception>
#include <map>
#include <utility>

#include "base/error.h"

namespace trireme {

namespace {

constexpr std::chrono::seconds kCloseLimit{10};  // for all connections: a forced close waits for no peer

void ucx_check(ucs_status_t status, const char* call) {
  if (status != UCS_OK)
    fail(ExitCode::rank_lost, "{} failed: {}; is the network between the hosts up, and UCX_NET_DEVICES right?", call,
         ucs_status_string(status));
}

}  // namespace

struct UcxRequest::State {
  void* handle = nullptr;  // null: nothing under way
  bool receives = false;
  int peer = -1;
  size_t bytes = 0;                  // expected of a receive
  std::vector<ucp_dt_iov_t> pieces;  // UCX reads them until the request is done
};

UcxRequest::UcxRequest() = default;
UcxRequest::UcxRequest(UcxRequest&&) noexcept = default;
UcxRequest& UcxRequest::operator=(UcxRequest&&) noexcept = default;
UcxRequest::~UcxRequest() {
  if (!state_ || !state_->handle) return;
  bool busy = ucp_request_check_status(state_->handle) == UCS_INPROGRESS;
  ucp_request_free(state_->handle);
  if (busy) static_cast<void>(state_.release());  // a failed job: UCX may still read the list of pieces
}

bool UcxRequest::done() {
  if (!state_ || !state_->handle) return true;
  ucp_tag_recv_info_t info{};
  ucs_status_t status =
      state_->receives ? ucp_tag_recv_request_test(state_->handle, &info) : ucp_request_check_status(state_->handle);
  if (status == UCS_INPROGRESS) return false;
  ucp_request_free(std::exchange(state_->handle, nullptr));
  if (status == UCS_ERR_MESSAGE_TRUNCATED || (status == UCS_OK && state_->receives && info.length != state_->bytes))
    fail(ExitCode::internal, "a message of rank {} has {} bytes, not {}: the ranks disagree about a step", state_->peer,
         info.length, state_->bytes);
  if (status != UCS_OK)
    fail(ExitCode::rank_lost, "lost the connection to rank {}: {}", state_->peer, ucs_status_string(status));
  return true;
}

struct UcxWorker::State {
  struct Peer {
    State* owner = nullptr;
    int rank = -1;
    ucp_ep_h endpoint = nullptr;
  };
  static void on_error(void* peer, ucp_ep_h, ucs_status_t status) {
    auto* p = static_cast<Peer*>(peer);
    if (p->owner->broken_rank >= 0) return;
    p->owner->broken_rank = p->rank;
    p->owner->broken_status = status;
  }

  ucp_context_h context = nullptr;
  ucp_worker_h worker = nullptr;
  std::map<int, Peer> peers;  // by world rank; nodes stay where they are
  int broken_rank = -1;
  ucs_status_t broken_status = UCS_OK;
};

UcxWorker::UcxWorker() : state_(std::make_unique<State>()) {
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES;
  params.features = UCP_FEATURE_TAG;
  ucx_check(ucp_init(&params, nullptr, &state_->context), "ucp_init");
  ucp_worker_params_t worker{};
  worker.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker.thread_mode = UCS_THREAD_MODE_SINGLE;
  ucx_check(ucp_worker_create(state_->context, &worker, &state_->worker), "ucp_worker_create");
}

UcxWorker::~UcxWorker() {
  // In a failed job messages may be under way from memory that is gone: the process ends without touching them.
  if (std::uncaught_exceptions() > 0) {
    static_cast<void>(state_.release());
    return;
  }
  ucp_request_param_t params{};
  ucp_tag_recv_info_t info{};
  // What nobody asked for any more (the last credits of channels).
  while (ucp_tag_message_h message = ucp_tag_probe_nb(state_->worker, 0, 0, 1, &info)) {
    void* handle = ucp_tag_msg_recv_nbx(state_->worker, nullptr, 0, message, &params);
    if (UCS_PTR_IS_PTR(handle)) ucp_request_free(handle);
  }
  params.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  params.flags = UCP_EP_CLOSE_FLAG_FORCE;
  const auto end = std::chrono::steady_clock::now() + kCloseLimit;
  for (auto& [rank, peer] : state_->peers) {
    void* handle = ucp_ep_close_nbx(peer.endpoint, &params);
    if (!UCS_PTR_IS_PTR(handle)) continue;
    while (ucp_request_check_status(handle) == UCS_INPROGRESS && std::chrono::steady_clock::now() < end)
      ucp_worker_progress(state_->worker);
    if (ucp_request_check_status(handle) == UCS_INPROGRESS) {  // the work is done: the rest is left to the process' end
      static_cast<void>(state_.release());
      return;
    }
    ucp_request_free(handle);
  }
  ucp_worker_destroy(state_->worker);
  ucp_cleanup(state_->context);
}

std::vector<std::byte> UcxWorker::address() const {
  ucp_address_t* address = nullptr;
  size_t bytes = 0;
  ucx_check(ucp_worker_get_address(state_->worker, &address, &bytes), "ucp_worker_get_address");
  auto* begin = reinterpret_cast<const std::byte*>(address);
  std::vector<std::byte> copy(begin, begin + bytes);
  ucp_worker_release_address(state_->worker, address);
  return copy;
}

void UcxWorker::connect(int rank, std::span<const std::byte> address) {
  auto& peer = state_->peers[rank];
  if (peer.endpoint) return;
  peer.owner = state_.get();
  peer.rank = rank;
  ucp_ep_params_t params{};
  params.field_mask =
      UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLER | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE;
  params.address = reinterpret_cast<const ucp_address_t*>(address.data());
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler = {State::on_error, &peer};
  ucx_check(ucp_ep_create(state_->worker, &params, &peer.endpoint), "ucp_ep_create");
}

namespace {

// The memory of a message in UCX's words: one run plainly, several as a list.
struct Described {
  void* data;
  size_t count;
  ucp_request_param_t params;
};
Described describe(std::vector<ucp_dt_iov_t>& pieces, const UcxRuns& runs) {
  Described d{runs.data, runs.bytes, {}};
  if (runs.count <= 1) return d;
  pieces.clear();
  for (size_t i = 0; i < runs.count; i++) pieces.push_back({runs.data + i * runs.stride, runs.bytes});
  d.data = pieces.data();
  d.count = pieces.size();
  d.params.op_attr_mask = UCP_OP_ATTR_FIELD_DATATYPE;
  d.params.datatype = ucp_dt_make_iov();
  return d;
}

}  // namespace

void UcxWorker::send(UcxRequest& request, int to_rank, UcxTag tag, UcxRuns runs) {
  if (!request.state_) request.state_ = std::make_unique<UcxRequest::State>();
  auto& state = *request.state_;
  must(!state.handle, "a UCX request is done before it is used again");
  state.receives = false;
  state.peer = to_rank;
  Described d = describe(state.pieces, runs);
  void* handle = ucp_tag_send_nbx(state_->peers.at(to_rank).endpoint, d.data, d.count, tag.packed(), &d.params);
  if (UCS_PTR_IS_ERR(handle))
    fail(ExitCode::rank_lost, "lost the connection to rank {}: {}", to_rank, ucs_status_string(UCS_PTR_STATUS(handle)));
  state.handle = handle;  // null when it went at once
}

void UcxWorker::receive(UcxRequest& request, int from_rank, UcxTag tag, UcxRuns runs) {
  if (!request.state_) request.state_ = std::make_unique<UcxRequest::State>();
  auto& state = *request.state_;
  must(!state.handle, "a UCX request is done before it is used again");
  state.receives = true;
  state.peer = from_rank;
  state.bytes = runs.total();
  Described d = describe(state.pieces, runs);
  d.params.op_attr_mask |= UCP_OP_ATTR_FLAG_NO_IMM_CMPL;  // done() reads the length that came
  void* handle = ucp_tag_recv_nbx(state_->worker, d.data, d.count, tag.packed(), ~uint64_t{0}, &d.params);
  if (UCS_PTR_IS_ERR(handle))
    fail(ExitCode::internal, "ucp_tag_recv_nbx from rank {}: {}", from_rank, ucs_status_string(UCS_PTR_STATUS(handle)));
  state.handle = handle;
}

void UcxWorker::progress() {
  while (ucp_worker_progress(state_->worker) != 0) {
  }
  if (state_->broken_rank >= 0)
    fail(ExitCode::rank_lost, "lost the connection to rank {}: {}", state_->broken_rank,
         ucs_status_string(state_->broken_status));
}

void UcxWorker::flush(UcxRequest& request) {
  if (!request.state_) request.state_ = std::make_unique<UcxRequest::State>();
  ucp_request_param_t params{};
  void* handle = ucp_worker_flush_nbx(state_->worker, &params);
  if (UCS_PTR_IS_ERR(handle))
    fail(ExitCode::rank_lost, "ucp_worker_flush_nbx: {}", ucs_status_string(UCS_PTR_STATUS(handle)));
  request.state_->receives = false;
  request.state_->handle = handle;
}

}  // namespace trireme
