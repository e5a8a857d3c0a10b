#include "coordinator/jobs/model_holders.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace espalier {
namespace {

bool IsSha256(const std::string& hash) {
  return hash.size() == 64 && std::all_of(hash.begin(), hash.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

absl::Status CheckForm(const ModelDigest& digest, const std::set<std::string>& names) {
  bool good = !digest.description.empty() && digest.tensors.size() == names.size();
  for (const auto& [name, hash] : digest.tensors) {
    good = good && names.count(name) > 0 && IsSha256(hash);
  }
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("it reported ", digest.tensors.size(),
                                                 " digests, which are not those of the ",
                                                 names.size(), " tensors of its layers"));
}

absl::Status OtherContent(const std::string& actual, const std::string& expected) {
  return absl::FailedPreconditionError(absl::StrCat(
      "its copy of the model has the content ", actual.substr(0, 12), "…, the job's has ",
      expected.substr(0, 12), "…; give every worker the same files under the model's path"));
}

}  // namespace

ModelHolders::State ModelHolders::state(ReplicaKey replica) const {
  const auto it = states_.find(replica);
  return it == states_.end() ? State::kUnknown : it->second;
}

absl::Status ModelHolders::Loaded(const Replica& replica, const std::vector<LoadResult>& parts,
                                  const std::vector<std::set<std::string>>& names) {
  if (absl::Status status = Compare(replica, parts, names); !status.ok()) {
    Set(replica.key, State::kUnknown);
    return status;
  }
  std::vector<std::string>& hashes = stage_hashes_[replica.key];
  hashes.clear();
  for (const LoadResult& part : parts) hashes.push_back(HashOf(part.digest));
  Set(replica.key, State::kReady);
  return absl::OkStatus();
}

absl::Status ModelHolders::Compare(const Replica& replica, const std::vector<LoadResult>& parts,
                                   const std::vector<std::set<std::string>>& names) {
  for (size_t stage = 0; stage < parts.size(); ++stage) {
    const ModelDigest& digest = parts[stage].digest;
    absl::Status status = CheckForm(digest, names[stage]);
    if (status.ok() && !digest_.tensors.empty()) {
      const ModelDigest expected = DigestOf(digest_, names[stage]);
      if (digest != expected) status = OtherContent(HashOf(digest), HashOf(expected));
    }
    if (status.ok()) continue;
    Refuse(replica.workers[stage]);
    return status;
  }
  if (!digest_.tensors.empty()) return absl::OkStatus();
  ModelDigest whole;
  absl::Status status;
  for (const LoadResult& part : parts) {
    if (status.ok()) status = MergeDigest(part.digest, &whole);
  }
  const std::string hash = HashOf(whole);
  if (status.ok() && !hash_.empty() && hash != hash_) status = OtherContent(hash, hash_);
  if (!status.ok()) {
    // Which of them it is cannot be told.
    for (const WorkerKey worker : replica.workers) Refuse(worker);
    return status;
  }
  hash_ = hash;
  digest_ = std::move(whole);
  return absl::OkStatus();
}

void ModelHolders::Gone(ReplicaKey replica) {
  Set(replica, State::kUnknown);
  stage_hashes_.erase(replica);
  statistics_.erase(replica);
}

ModelHolders::Statistics ModelHolders::statistics(ReplicaKey replica) const {
  const auto it = statistics_.find(replica);
  return it == statistics_.end() ? Statistics::kNone : it->second;
}

void ModelHolders::SetStatistics(ReplicaKey replica, Statistics statistics) {
  if (statistics == Statistics::kNone) {
    statistics_.erase(replica);
  } else {
    statistics_[replica] = statistics;
  }
}

bool ModelHolders::AnyCalibrated() const {
  return std::any_of(statistics_.begin(), statistics_.end(),
                     [](const auto& entry) { return entry.second == Statistics::kThere; });
}

std::string ModelHolders::StageHash(ReplicaKey replica, size_t stage) const {
  const auto it = stage_hashes_.find(replica);
  return it == stage_hashes_.end() ? "" : it->second[stage];
}

size_t ModelHolders::Count(State state) const {
  const auto it = counts_.find(state);
  return it == counts_.end() ? 0 : it->second;
}

void ModelHolders::Set(ReplicaKey replica, State state) {
  const auto it = states_.find(replica);
  if (it != states_.end()) {
    --counts_[it->second];
    states_.erase(it);
  }
  if (state == State::kUnknown) return;
  states_.emplace(replica, state);
  ++counts_[state];
}

}  // namespace espalier
