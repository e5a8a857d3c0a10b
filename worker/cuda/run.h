// One call of the module's table.
#ifndef ESPALIER_WORKER_CUDA_RUN_H_
#define ESPALIER_WORKER_CUDA_RUN_H_

#include <array>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace espalier {

// Runs `call(error, error_size)`; its failure has this code and CUDA's or NCCL's message.
template <typename Call>
absl::Status RunCuda(absl::StatusCode code, Call call) {
  std::array<char, 1024> error{};
  if (call(error.data(), error.size()) == 0) return absl::OkStatus();
  return absl::Status(code, absl::StrCat("CUDA: ", error.data()));
}

}  // namespace espalier

#endif  // ESPALIER_WORKER_CUDA_RUN_H_
