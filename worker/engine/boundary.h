// Where libtorch's exceptions end: nothing outside the engine sees one. Internal to the engine.
#ifndef ESPALIER_WORKER_ENGINE_BOUNDARY_H_
#define ESPALIER_WORKER_ENGINE_BOUNDARY_H_

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace espalier {

// "12 MiB", rounded up.
std::string Megabytes(int64_t bytes);

// The exception that is being handled, as a status: RESOURCE_EXHAUSTED when memory ran out, else
// INTERNAL. `what` names the work.
absl::Status StatusOfException(const std::string& what);

// Runs `body`, turning whatever it throws into a status.
template <typename Body>
auto WithoutExceptions(const std::string& what, Body&& body) -> decltype(body()) {
  const c10::InferenceMode no_autograd;
  // The engine's own threads divide the work; libtorch's would only get in their way. A setting of
  // the calling thread, which may be another one in each call.
  at::set_num_threads(1);
  try {
    return body();
  } catch (...) {
    return StatusOfException(what);
  }
}

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_BOUNDARY_H_
