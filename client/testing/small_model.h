// A LLaMA with random weights that everything accepts: config.json, model.safetensors and a
// tokenizer whose tokens are the 256 bytes. For tests that run the whole program.
#ifndef ESPALIER_CLIENT_TESTING_SMALL_MODEL_H_
#define ESPALIER_CLIENT_TESTING_SMALL_MODEL_H_

#include <cstdint>
#include <filesystem>
#include <string>

#include "common/model_config.h"

namespace espalier {

// L = 6, d = 64, H = 4, G = 2, h = 16, f = 256, V = 256, 128 positions, tied embeddings.
ModelConfig SmallConfig();

// Writes the folder (0.4 MB in bfloat16). Aborts the test on failure. Weights follow from `seed`.
void WriteSmallModel(const std::filesystem::path& folder, uint64_t seed = 1);

// Pronounceable text of at least `bytes` bytes, one token a byte.
std::string SomeText(int64_t bytes, uint64_t seed = 1);

// Writes or overwrites a file, making its folder. Aborts the test on failure.
void WriteTestFile(const std::filesystem::path& path, const std::string& contents);

// A new, empty folder below the tests' temporary one.
std::filesystem::path NewTestFolder(const std::string& name);

}  // namespace espalier

#endif  // ESPALIER_CLIENT_TESTING_SMALL_MODEL_H_
