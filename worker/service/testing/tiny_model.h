// A model folder of a few kilobytes, and a data set for it.
#ifndef ESPALIER_WORKER_SERVICE_TESTING_TINY_MODEL_H_
#define ESPALIER_WORKER_SERVICE_TESTING_TINY_MODEL_H_

#include <filesystem>

#include "common/model_config.h"
#include "common/safetensors.h"
#include "common/subnet.h"
#include "common/text.h"
#include "espalier/v1/worker.pb.h"

namespace espalier {

// L = 3, d = 16, H = 4, G = 2, h = 8, f = 24, V = 32.
ModelConfig TinyConfig();

// Writes (or overwrites) config.json, model.safetensors and tokenizer files. Aborts the test on
// failure. Weights follow from `seed`.
void WriteTinyModel(const std::filesystem::path& folder, uint32_t seed = 0,
                    DType dtype = DType::kFloat32);

// Legal masks that cut something everywhere, drop the MLP of layer 1 and all of layer 2.
Subnet TinySubnet();
v1::SubnetMasks ToMessage(const Subnet& subnet);

// `count` sequences of 8 tokens of TinyConfig's vocabulary.
TokenSequences TinySequences(int64_t count, int32_t seed = 0);
v1::DataSet ToMessage(const TokenSequences& sequences);

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_TESTING_TINY_MODEL_H_
