// What libespalier_cuda.so offers: a table of plain C functions.
//
// CUDA and NCCL are used in that shared object alone, and only worker/cuda/loader.h opens it, for
// `--device cuda:N`: the programs themselves also run where no CUDA library exists. Opening it
// also loads libtorch_cuda.so, whose kernels then serve the engine's "cuda" tensors.
//
// C types only, so that no exception and no C++ object crosses the boundary. Every function
// returns 0, or another value after it wrote a message, cut to `error_size` bytes with the closing
// zero, to `error`. Thread-safe.
#ifndef ESPALIER_WORKER_CUDA_MODULE_H_
#define ESPALIER_WORKER_CUDA_MODULE_H_

#include <cstddef>
#include <cstdint>

extern "C" {

struct EspalierCudaDevice {
  char name[256];  // for people, zero-terminated
  char uuid[64];   // the same in every process that sees this GPU, zero-terminated
  int32_t compute_major;
  int32_t compute_minor;
  int64_t total_bytes;  // of device memory
  int64_t free_bytes;
};

// One end of an NCCL communicator of two, in which rank 0 only sends and rank 1 only receives: what
// goes one way never waits for what goes the other way, and the end of one communicator is the end
// of no other. One thread at a time; one operation at a time.
struct EspalierNcclPair;

struct EspalierCudaModule {
  int32_t interface_version;  // kEspalierCudaInterfaceVersion of the header it was built with
  int (*device_count)(int32_t* count, char* error, size_t error_size);
  int (*describe_device)(int32_t device, EspalierCudaDevice* description, char* error,
                         size_t error_size);
  // Waits for all work on the device; reports what went wrong in it.
  int (*synchronize)(int32_t device, char* error, size_t error_size);
  // Of the NCCL library that was loaded, as NCCL counts: 22803 is 2.28.3.
  int (*nccl_version)(int32_t* version, char* error, size_t error_size);

  // "Current stream": libtorch's, of the calling thread on the device.

  // Device memory from libtorch's allocator, so that what it has free is used; the next work on it
  // belongs on the current stream. `release`, from any thread, after all work on it has ended.
  int (*allocate)(int32_t device, int64_t bytes, void** data, char* error, size_t error_size);
  void (*release)(int32_t device, void* data);
  // Copies after all work on the current stream, and returns when that and the copy have ended.
  // Both ends may be in device or in host memory.
  int (*copy)(int32_t device, void* to, const void* from, int64_t bytes, char* error,
              size_t error_size);

  // Waits for all work on the current stream, and for that only.
  int (*finish_stream)(int32_t device, char* error, size_t error_size);

  // Names a communicator; written to `id`, kEspalierNcclIdBytes bytes. Both ends need it.
  int (*nccl_unique_id)(char* id, char* error, size_t error_size);
  // Begins to set up an end on the device. Neither this nor the next two wait for the other end:
  // nccl_poll says when they are done.
  int (*nccl_open)(int32_t device, const char* id, int32_t rank, EspalierNcclPair** pair,
                   char* error, size_t error_size);
  // `data` is device memory that nothing else is at work on until this is done: no stream of the
  // caller's orders a transfer. Once a receive is done, its data is there for all streams.
  int (*nccl_send)(EspalierNcclPair* pair, const void* data, int64_t bytes, char* error,
                   size_t error_size);
  int (*nccl_receive)(EspalierNcclPair* pair, void* data, int64_t bytes, char* error,
                      size_t error_size);
  // *done: 1 when the last of these three has ended, otherwise 0. Once it has seen that a transfer
  // runs, it makes no call that another thread's waiting for the device could hold up. After an
  // error only nccl_abort is allowed.
  int (*nccl_poll)(EspalierNcclPair* pair, int32_t* done, char* error, size_t error_size);
  // Ends what is under way, without the other end, and frees the pair. Afterwards nothing touches
  // the memory of a transfer any more. There is no gentler end: NCCL's other one (destroy) waits
  // for the other side, which may be dead.
  void (*nccl_abort)(EspalierNcclPair* pair);
};

// The table; it lives as long as the shared object.
const EspalierCudaModule* espalier_cuda_module();

}  // extern "C"

// Counts up with every change of the table or its structures.
inline constexpr int32_t kEspalierCudaInterfaceVersion = 2;

inline constexpr size_t kEspalierNcclIdBytes = 128;

#endif  // ESPALIER_WORKER_CUDA_MODULE_H_
