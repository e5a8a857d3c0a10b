// The weights of one model on one device.
#ifndef ESPALIER_WORKER_ENGINE_RESIDENT_MODEL_H_
#define ESPALIER_WORKER_ENGINE_RESIDENT_MODEL_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/model_config.h"
#include "common/model_folder.h"
#include "common/stage.h"
#include "common/subnet.h"

namespace espalier {

// The type of tensors with a file's type of weights.
at::ScalarType ScalarTypeOf(DType dtype);

// Row-major, in the engine's precision; norms in float32. Shapes are those of the resident subnet:
// dense, or a compact folder's. Undefined tensors belong to absent modules. o and down are stored
// transposed, so that omitting inputs of any linear is a gather of whole rows. Biases are float32;
// undefined: none.
struct ResidentLayer {
  at::Tensor attention_norm;   // [d]
  at::Tensor q;                // [query rows, d]
  at::Tensor k;                // [key/value rows, d]
  at::Tensor v;                // [key/value rows, d]
  at::Tensor o_transposed;     // [query rows, d]
  at::Tensor o_bias;           // [d]
  at::Tensor mlp_norm;         // [d]
  at::Tensor gate;             // [f', d]
  at::Tensor up;               // [f', d]
  at::Tensor down_transposed;  // [f', d]
  at::Tensor down_bias;        // [d]
};

struct ResidentModel {
  ModelConfig config;       // with the stage's number of layers
  int64_t first_layer = 0;  // that layers[0] is in the whole model
  Subnet subnet;            // that is resident
  at::ScalarType type = at::kFloat;
  at::Device device = at::kCPU;
  at::Tensor embedding;   // [V, d]; of the first stage
  at::Tensor head;        // [V, d]; of the last stage; the embedding if tied
  at::Tensor final_norm;  // [d]; of the last stage
  std::vector<ResidentLayer> layers;

  int64_t bytes() const;
};

// Copies one stage from the folder's memory map, converting to `type`. May throw (out of memory).
absl::StatusOr<ResidentModel> LoadResidentModel(const ModelFolder& folder, const StageRange& stage,
                                                at::ScalarType type, at::Device device);

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_RESIDENT_MODEL_H_
