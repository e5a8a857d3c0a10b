// NCCL and device memory without a GPU: the functions of module.h among threads of one process, for
// tests. Device memory is host memory that is counted. Harsher than NCCL where NCCL promises
// nothing: who waits for an end that was aborted waits for ever.
#ifndef ESPALIER_WORKER_CUDA_FAKE_NCCL_H_
#define ESPALIER_WORKER_CUDA_FAKE_NCCL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "worker/cuda/module.h"

namespace espalier {

// What goes wrong, and what there is. Of the whole process; any thread may set or read it.
struct FakeNccl {
  std::atomic<bool> never_sets_up = false;             // set-ups wait for ever
  std::atomic<bool> set_up_fails = false;              // at the next poll
  std::atomic<bool> transfers_stall = false;           // transfers wait for ever
  std::atomic<bool> transfers_fail = false;            // at the next poll
  std::atomic<int64_t> free_bytes = int64_t{1} << 40;  // what can still be allocated
  std::atomic<int64_t> allocated_bytes = 0;
  std::atomic<int64_t> pairs = 0;      // opened and not aborted
  std::atomic<int64_t> transfers = 0;  // that ended well, counted once for both ends
  std::atomic<int64_t> running = 0;    // begun by one end at least
};
FakeNccl& TheFakeNccl();

namespace fake_nccl {

int Allocate(int32_t device, int64_t bytes, void** data, char* error, size_t error_size);
void Release(int32_t device, void* data);
int Copy(int32_t device, void* to, const void* from, int64_t bytes, char* error, size_t error_size);
int FinishStream(int32_t device, char* error, size_t error_size);
int UniqueId(char* id, char* error, size_t error_size);
int Open(int32_t device, const char* id, int32_t rank, EspalierNcclPair** pair, char* error,
         size_t error_size);
int Send(EspalierNcclPair* pair, const void* data, int64_t bytes, char* error, size_t error_size);
int Receive(EspalierNcclPair* pair, void* data, int64_t bytes, char* error, size_t error_size);
int Poll(EspalierNcclPair* pair, int32_t* done, char* error, size_t error_size);
void Abort(EspalierNcclPair* pair);

}  // namespace fake_nccl
}  // namespace espalier

#endif  // ESPALIER_WORKER_CUDA_FAKE_NCCL_H_
