#include "worker/service/data_set_store.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace espalier {

absl::Status DataSetStore::Add(const v1::DataSet& message) {
  const int64_t length = message.sequence_length();
  if (length <= 0 || message.tokens_size() % length != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("data set ", message.hash(), ": ", message.tokens_size(),
                     " tokens are not a whole number of sequences of ", length,
                     "; the coordinator sent a malformed message"));
  }
  auto set = std::make_shared<const TokenSequences>(
      MakeTokenSequences(length, {message.tokens().begin(), message.tokens().end()}));
  if (set->hash != message.hash()) {
    return absl::InvalidArgumentError(
        absl::StrCat("data set ", message.hash(), " has the content of ", set->hash,
                     "; it was damaged on its way, submit the job again"));
  }
  MutexLock lock(&mutex_);
  sets_.insert_or_assign(message.hash(), std::move(set));
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const TokenSequences>> DataSetStore::Get(
    const std::string& hash) const {
  MutexLock lock(&mutex_);
  const auto found = sets_.find(hash);
  if (found == sets_.end()) {
    return absl::FailedPreconditionError(
        absl::StrCat("data set '", hash, "' was not sent to this worker before the task"));
  }
  return found->second;
}

void DataSetStore::Clear() {
  MutexLock lock(&mutex_);
  sets_.clear();
}

}  // namespace espalier
