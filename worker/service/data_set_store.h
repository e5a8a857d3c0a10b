// The token sequences that the coordinator has sent on the current stream, by hash.
//
// The coordinator sends a data set once per stream and then relies on it, so nothing is dropped
// before the stream ends. A data set takes 4 bytes a token: 1 MiB for the default calibration set.
#ifndef ESPALIER_WORKER_SERVICE_DATA_SET_STORE_H_
#define ESPALIER_WORKER_SERVICE_DATA_SET_STORE_H_

#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "common/text.h"
#include "espalier/v1/worker.pb.h"

namespace espalier {

// Thread-safe.
class DataSetStore {
 public:
  // INVALID_ARGUMENT when the content does not have the hash that the message names.
  absl::Status Add(const v1::DataSet& message);
  // FAILED_PRECONDITION when it was not sent.
  absl::StatusOr<std::shared_ptr<const TokenSequences>> Get(const std::string& hash) const;
  void Clear();

 private:
  mutable Mutex mutex_;
  std::map<std::string, std::shared_ptr<const TokenSequences>> sets_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_DATA_SET_STORE_H_
