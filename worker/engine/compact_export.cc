#include "worker/engine/compact_export.h"

#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/statistics.h"

namespace espalier {
namespace {

// A tensor of the export is a selection of rows or columns of one in the folder, or it is new.
struct Source {
  const std::vector<int64_t>* rows = nullptr;
  const std::vector<int64_t>* columns = nullptr;
  at::Tensor replacement;
};

using Sources = std::map<std::string, Source>;

void AddLayer(int64_t i, const LayerSelection& selection, Sources* sources) {
  const std::string prefix = absl::StrCat("model.layers.", i, ".");
  const std::string attention = prefix + "self_attn.";
  const std::string mlp = prefix + "mlp.";
  if (!selection.all_attention) {
    (*sources)[attention + "q_proj.weight"].rows = &selection.query_rows;
    (*sources)[attention + "k_proj.weight"].rows = &selection.key_rows;
    (*sources)[attention + "v_proj.weight"].rows = &selection.key_rows;
    (*sources)[attention + "o_proj.weight"].columns = &selection.query_rows;
  }
  if (!selection.all_mlp) {
    (*sources)[mlp + "gate_proj.weight"].rows = &selection.channels;
    (*sources)[mlp + "up_proj.weight"].rows = &selection.channels;
    (*sources)[mlp + "down_proj.weight"].columns = &selection.channels;
  }
  const LayerWeights& weights = selection.weights;
  for (const auto& [name, replacement] :
       {std::pair(attention + "q_proj", weights.q), std::pair(attention + "k_proj", weights.k),
        std::pair(attention + "v_proj", weights.v), std::pair(mlp + "gate_proj", weights.gate),
        std::pair(mlp + "up_proj", weights.up)}) {
    (*sources)[name + ".weight"].replacement = replacement;
  }
  const auto transposed = [](const at::Tensor& tensor) {
    return tensor.defined() ? tensor.t() : at::Tensor();
  };
  (*sources)[attention + "q_proj.bias"].rows = &selection.query_rows;
  (*sources)[attention + "k_proj.bias"].rows = &selection.key_rows;
  (*sources)[attention + "v_proj.bias"].rows = &selection.key_rows;
  (*sources)[mlp + "gate_proj.bias"].rows = &selection.channels;
  (*sources)[mlp + "up_proj.bias"].rows = &selection.channels;
  (*sources)[attention + "o_proj.bias"].replacement = weights.o_bias;
  (*sources)[mlp + "down_proj.bias"].replacement = weights.down_bias;
  (*sources)[attention + "o_proj.weight"].replacement = transposed(weights.o_transposed);
  (*sources)[mlp + "down_proj.weight"].replacement = transposed(weights.down_transposed);
}

absl::StatusOr<at::Tensor> Read(const ModelFolder& folder, const TensorSpec& spec,
                                const Source& source) {
  if (source.replacement.defined()) return source.replacement.to(at::kCPU);
  const absl::StatusOr<TensorView> found = folder.tensors->Get(spec.name);
  // The reformed model has biases that the dense one has not.
  if (absl::IsNotFound(found.status()) && absl::EndsWith(spec.name, ".bias")) {
    return at::zeros(spec.shape, at::kFloat);
  }
  if (!found.ok()) return found.status();
  const TensorView& view = *found;
  at::Tensor tensor = at::from_blob(const_cast<char*>(view.bytes.data()), view.shape,
                                    at::TensorOptions().dtype(ScalarTypeOf(view.dtype)));
  if (source.rows != nullptr) tensor = tensor.index_select(0, at::tensor(*source.rows, at::kLong));
  if (source.columns != nullptr) {
    tensor = tensor.index_select(1, at::tensor(*source.columns, at::kLong));
  }
  return tensor;
}

}  // namespace

absl::Status WriteCompactTensors(const ModelFolder& folder, const ModelConfig& config,
                                 const std::vector<LayerSelection>& selections,
                                 const at::Tensor& final_norm, const StageRange& stage,
                                 const Subnet& subnet, DType dtype, const ByteSink& sink,
                                 const Control& control) {
  Sources sources;
  sources["model.norm.weight"].replacement = final_norm;
  for (size_t i = 0; i < selections.size(); ++i) {
    AddLayer(stage.first + static_cast<int64_t>(i), selections[i], &sources);
  }
  const std::vector<TensorSpec> specs = StageTensors(config, subnet, dtype, stage);
  for (size_t i = 0; i < specs.size(); ++i) {
    if (Cancelled(control)) return CancelledError();
    ESPALIER_ASSIGN_OR_RETURN(at::Tensor tensor, Read(folder, specs[i], sources[specs[i].name]));
    tensor = tensor.to(ScalarTypeOf(dtype)).contiguous();
    if (tensor.sizes() != at::IntArrayRef(specs[i].shape)) {
      return absl::InternalError(absl::StrCat(specs[i].name, " came out in the wrong shape"));
    }
    ESPALIER_RETURN_IF_ERROR(sink(std::string_view(static_cast<const char*>(tensor.data_ptr()),
                                                   static_cast<size_t>(tensor.nbytes()))));
    Report(control, static_cast<double>(i + 1) / static_cast<double>(specs.size()));
  }
  return absl::OkStatus();
}

}  // namespace espalier
