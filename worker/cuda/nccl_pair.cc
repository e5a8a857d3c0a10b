// NCCL communicators of two ranks, non-blocking: every call returns at once, and what becomes of it
// is asked for.
#include <nccl.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <memory>

#include "worker/cuda/module_internal.h"

// The stream does not wait for the legacy default stream, which is libtorch's, nor that for it: a
// transfer that waits for the other stage holds up no computation. It comes first when both want
// the device.
struct EspalierNcclPair {
  enum class State {
    kIssued,   // NCCL has not accepted the call yet
    kRunning,  // a transfer is on the stream
    kDone,
  };

  int device = 0;
  ncclComm_t communicator = nullptr;
  cudaStream_t stream = nullptr;
  State state = State::kIssued;
  bool transfer = false;            // what was issued is one, and not the set-up
  std::atomic<bool> ended = false;  // set by the stream when the transfer has ended
};

namespace espalier::cuda_module {
namespace {

static_assert(kEspalierNcclIdBytes == NCCL_UNIQUE_ID_BYTES);

// Thread blocks that a transfer may take from the computation; also bounds NCCL's buffers. Enough
// for the fastest links between GPUs.
constexpr int kMostBlocks = 8;

// In progress is no failure.
int CheckNccl(const char* what, ncclResult_t result, char* error, size_t error_size) {
  if (result == ncclSuccess || result == ncclInProgress) return 0;
  // The last message may be another communicator's; the result's own text is right, but vague.
  const char* last = ncclGetLastError(nullptr);
  std::snprintf(error, error_size, "%s: %s (last message: %s)", what, ncclGetErrorString(result),
                last == nullptr ? "none" : last);
  return 1;
}

int MakeStream(EspalierNcclPair* pair, char* error, size_t error_size) {
  int least = 0;
  int greatest = 0;
  if (Check("cudaDeviceGetStreamPriorityRange", cudaDeviceGetStreamPriorityRange(&least, &greatest),
            error, error_size) != 0) {
    return 1;
  }
  return Check("cudaStreamCreateWithPriority",
               cudaStreamCreateWithPriority(&pair->stream, cudaStreamNonBlocking, greatest), error,
               error_size);
}

int CheckIdle(const EspalierNcclPair& pair, char* error, size_t error_size) {
  if (pair.state == EspalierNcclPair::State::kDone) return 0;
  return Fail("NCCL", "the operation before has not ended", error, error_size);
}

int Issued(EspalierNcclPair* pair, const char* what, ncclResult_t result, char* error,
           size_t error_size) {
  pair->state = EspalierNcclPair::State::kIssued;
  pair->transfer = true;
  pair->ended = false;
  return CheckNccl(what, result, error, error_size);
}

void MarkEnded(void* pair) { static_cast<EspalierNcclPair*>(pair)->ended = true; }

}  // namespace

int NcclUniqueId(char* id, char* error, size_t error_size) {
  ncclUniqueId unique;
  if (CheckNccl("ncclGetUniqueId", ncclGetUniqueId(&unique), error, error_size) != 0) return 1;
  std::memcpy(id, unique.internal, kEspalierNcclIdBytes);
  return 0;
}

int NcclOpen(int32_t device, const char* id, int32_t rank, EspalierNcclPair** pair, char* error,
             size_t error_size) {
  const ScopedDevice current(device);
  if (Check("cudaSetDevice", current.result(), error, error_size) != 0) return 1;
  auto opened = std::make_unique<EspalierNcclPair>();
  opened->device = device;
  if (MakeStream(opened.get(), error, error_size) != 0) return 1;
  ncclUniqueId unique;
  std::memcpy(unique.internal, id, kEspalierNcclIdBytes);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  config.maxCTAs = kMostBlocks;
  const ncclResult_t result =
      ncclCommInitRankConfig(&opened->communicator, 2, unique, rank, &config);
  if (CheckNccl("ncclCommInitRankConfig", result, error, error_size) != 0) {
    NcclAbort(opened.release());
    return 1;
  }
  *pair = opened.release();
  return 0;
}

int NcclSend(EspalierNcclPair* pair, const void* data, int64_t bytes, char* error,
             size_t error_size) {
  if (CheckIdle(*pair, error, error_size) != 0) return 1;
  const ScopedDevice current(pair->device);
  if (Check("cudaSetDevice", current.result(), error, error_size) != 0) return 1;
  return Issued(pair, "ncclSend",
                ncclSend(data, static_cast<size_t>(bytes), ncclUint8, /*peer=*/1,
                         pair->communicator, pair->stream),
                error, error_size);
}

int NcclReceive(EspalierNcclPair* pair, void* data, int64_t bytes, char* error, size_t error_size) {
  if (CheckIdle(*pair, error, error_size) != 0) return 1;
  const ScopedDevice current(pair->device);
  if (Check("cudaSetDevice", current.result(), error, error_size) != 0) return 1;
  return Issued(pair, "ncclRecv",
                ncclRecv(data, static_cast<size_t>(bytes), ncclUint8, /*peer=*/0,
                         pair->communicator, pair->stream),
                error, error_size);
}

// The end of a transfer is learnt from a function on the stream and not from an event: to query one
// is a call to the driver, which waits while another thread frees memory, which waits for all work
// on the device to end, and that may be the very transfer that this thread would have to abort.
int NcclPoll(EspalierNcclPair* pair, int32_t* done, char* error, size_t error_size) {
  using State = EspalierNcclPair::State;
  *done = 0;
  ncclResult_t state = ncclSuccess;
  if (CheckNccl("ncclCommGetAsyncError", ncclCommGetAsyncError(pair->communicator, &state), error,
                error_size) != 0 ||
      CheckNccl("NCCL", state, error, error_size) != 0) {
    return 1;
  }
  if (pair->state == State::kIssued && state == ncclSuccess) {
    if (pair->transfer) {
      const ScopedDevice current(pair->device);
      if (Check("cudaSetDevice", current.result(), error, error_size) != 0 ||
          Check("cudaLaunchHostFunc", cudaLaunchHostFunc(pair->stream, MarkEnded, pair), error,
                error_size) != 0) {
        return 1;
      }
    }
    pair->state = pair->transfer ? State::kRunning : State::kDone;
  }
  if (pair->state == State::kRunning && pair->ended) pair->state = State::kDone;
  *done = pair->state == State::kDone ? 1 : 0;
  return 0;
}

void NcclAbort(EspalierNcclPair* pair) {
  const ScopedDevice current(pair->device);
  // Raises a flag that the transfer's kernel polls before it frees anything.
  if (pair->communicator != nullptr) ncclCommAbort(pair->communicator);
  if (pair->stream != nullptr) {
    cudaStreamSynchronize(pair->stream);  // MarkEnded may still be to come, and it uses `pair`
    cudaStreamDestroy(pair->stream);
  }
  delete pair;
}

}  // namespace espalier::cuda_module
