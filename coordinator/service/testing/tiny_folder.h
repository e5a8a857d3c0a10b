// A model folder of which a coordinator reads only config and tokenizer, texts for it, and jobs.
#ifndef ESPALIER_COORDINATOR_SERVICE_TESTING_TINY_FOLDER_H_
#define ESPALIER_COORDINATOR_SERVICE_TESTING_TINY_FOLDER_H_

#include <cstdint>
#include <filesystem>
#include <string>

#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/subnet.h"

namespace espalier {

// A new folder below the test's temporary directory with model/ (config.json, tokenizer.json: one
// token a character of a-z, space and newline), train.txt and test.txt.
std::filesystem::path MakeTinyFolder(const std::string& name);

// A small job on it: 3 generations of 7. The result goes to `folder`/`output`.
JobSpec TinyFolderJob(const std::filesystem::path& folder, const std::string& output);

// Writes the files of a compact model of `subnet` with all weights zero.
std::string ZeroSafetensors(const ModelConfig& config, const Subnet& subnet);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SERVICE_TESTING_TINY_FOLDER_H_
