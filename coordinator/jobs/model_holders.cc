#include "coordinator/jobs/model_holders.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace espalier {
namespace {

bool IsContentHash(const std::string& hash) {
  return hash.size() == 64 && std::all_of(hash.begin(), hash.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace

ModelHolders::State ModelHolders::state(WorkerKey worker) const {
  const auto it = states_.find(worker);
  return it == states_.end() ? State::kUnknown : it->second;
}

absl::Status ModelHolders::Loaded(WorkerKey worker, const LoadResult& result) {
  if (!IsContentHash(result.model_hash)) {
    Refuse(worker);
    return absl::InvalidArgumentError(absl::StrCat("it reported \"", result.model_hash,
                                                   "\" as the model's hash, which is no SHA-256"));
  }
  if (hash_.empty()) hash_ = result.model_hash;
  if (result.model_hash != hash_) {
    Refuse(worker);
    return absl::FailedPreconditionError(
        absl::StrCat("its copy of the model has the content ", result.model_hash.substr(0, 12),
                     "…, the job's has ", hash_.substr(0, 12),
                     "…; give every worker the same files under the model's path"));
  }
  Set(worker, State::kReady);
  return absl::OkStatus();
}

void ModelHolders::Gone(WorkerKey worker) {
  Set(worker, State::kUnknown);
  calibrated_.erase(worker);
}

size_t ModelHolders::Count(State state) const {
  const auto it = counts_.find(state);
  return it == counts_.end() ? 0 : it->second;
}

void ModelHolders::Set(WorkerKey worker, State state) {
  const auto it = states_.find(worker);
  if (it != states_.end()) {
    --counts_[it->second];
    states_.erase(it);
  }
  if (state == State::kUnknown) return;
  states_.emplace(worker, state);
  ++counts_[state];
}

}  // namespace espalier
