// Bytes and floating-point operations of a LLaMA's parts (docs/plan.md has every formula).
//
// A multiply-add counts as two operations; norms, rotation, softmax and SiLU, which are less than a
// percent of a layer, are not counted. `share` is the part of a layer's units that is present,
// the same in attention and MLP: 1 for the dense model, UniformShare for a target ratio.
#ifndef ESPALIER_COMMON_PLAN_MODEL_COST_H_
#define ESPALIER_COMMON_PLAN_MODEL_COST_H_

#include <cstdint>

#include "common/job_spec.h"
#include "common/model_config.h"

namespace espalier {

int64_t QueryWidth(const ModelConfig& config);  // H·h

int64_t BytesOf(Precision precision);  // of one weight

// Parameters of one layer's matrices, without its norms.
int64_t AttentionParameters(const ModelConfig& config);
int64_t MlpParameters(const ModelConfig& config);

// u = (γ · dense − fixed) / (dense − fixed), in [0, 1]: what is left of every layer when embeddings
// and final norm, which are not cut, count towards the ratio γ.
double UniformShare(const ModelConfig& config, double ratio);

// Resident bytes. Matrices in `precision`, norms in float32, as the engine keeps them.
int64_t LayerBytes(const ModelConfig& config, Precision precision);
int64_t EmbeddingBytes(const ModelConfig& config, Precision precision);  // of one V × d matrix
int64_t FinalNormBytes(const ModelConfig& config);

// Per layer: the Gram matrices of the inputs of q/k/v, o, gate/up and down, float32; and the new o
// and down weights of a subnet, float32.
int64_t LayerGramBytes(const ModelConfig& config);
int64_t LayerReformedBytes(const ModelConfig& config, double share);
// Of repaired candidates, which have new v weights too, in `precision`; and what is made of them to
// run a candidate: q.
int64_t LayerRepairedBytes(const ModelConfig& config, double share, Precision precision);
int64_t LayerInPlaceBytes(const ModelConfig& config, double share, Precision precision);
// What progressive reformation gives: q, k, v, gate and up too, in `precision`.
int64_t LayerProgressiveBytes(const ModelConfig& config, double share, Precision precision);

// One sequence of `length` tokens through one layer: projections, causal attention; MLP; both.
double AttentionFlops(const ModelConfig& config, int64_t length, double share);
double MlpFlops(const ModelConfig& config, int64_t length, double share);
double LayerFlops(const ModelConfig& config, int64_t length, double share);
// Logits of one sequence.
double HeadFlops(const ModelConfig& config, int64_t length);
// One layer's Gram matrices over `rows` tokens. `full`: both triangles are computed (GPUs).
double LayerGramFlops(const ModelConfig& config, int64_t rows, bool full);
// One layer's unit scores: four factorisations and inverses in float64.
double LayerImportanceFlops(const ModelConfig& config);
// The closed form of one linear that keeps `kept` of its inputs, float64.
double RepairFlops(double inputs, double outputs, double kept);
// Turning a layer's values into the basis of their most important directions, float64.
double ValueBasesFlops(const ModelConfig& config);
// One layer's o and down, and with kProjected v, float64; 0 for no reformation.
double LayerReformationFlops(const ModelConfig& config, double share, const ReformationSpec& spec);

}  // namespace espalier

#endif  // ESPALIER_COMMON_PLAN_MODEL_COST_H_
