// Small random models on disk, for tests.
#ifndef ESPALIER_WORKER_ENGINE_TEST_MODEL_H_
#define ESPALIER_WORKER_ENGINE_TEST_MODEL_H_

#include <cstdint>
#include <filesystem>
#include <string>

#include "common/model_config.h"
#include "common/rng.h"
#include "common/subnet.h"
#include "common/text.h"

namespace espalier {

// A shape that has everything: head dim 16, d no multiple of 64, f no multiple of 16.
ModelConfig TestConfig(int64_t num_heads, int64_t num_kv_heads, bool tied);

// Writes an HF folder of float32 weights drawn from `seed` under the tests' temporary directory.
// Biases, where `config` has some, are zero but for those of o and down.
std::filesystem::path WriteTestModel(const ModelConfig& config, uint64_t seed,
                                     const std::string& name);

// Keeps each unit with probability `density`; some modules are left empty and, with
// `drop_layers`, some layers.
Subnet RandomTestSubnet(const ModelConfig& config, double density, bool drop_layers, uint64_t seed);

TokenSequences RandomTokens(const ModelConfig& config, int64_t sequences, int64_t length,
                            uint64_t seed);

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_TEST_MODEL_H_
